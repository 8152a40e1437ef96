"""Tar archives that others may have written: only headers that make sense are followed."""

import tarfile

_HEADER = 2**20
"""Bytes of a member's name or attributes in a tar that are read."""


class Member(tarfile.TarInfo):
    """A member of a tar whose numbers make sense: a negative size would lead back to where it was read."""

    def _block(self, count: int) -> int:
        if not 0 <= count < 2**63:
            raise ValueError(f"a member of {count} bytes")
        return int(super()._block(count))  # type: ignore[misc]

    def _proc_member(self, shard: tarfile.TarFile) -> tarfile.TarInfo:
        attributes = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*attributes, tarfile.SOLARIS_XHDTYPE) and self.size > _HEADER:
            raise ValueError(f"a name or attributes of {self.size} bytes")
        found: tarfile.TarInfo = super()._proc_member(shard)  # type: ignore[misc]
        return found
