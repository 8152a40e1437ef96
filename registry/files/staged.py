"""Members of shards that are not complete: where each lies until its shard is packed, as a file of its own."""

from pathlib import Path

from loco.ids import content_id


def staging_folder(folder: Path, one: str = "") -> Path:
    """Where members of the shards in `folder` are staged, or those of the `one` of that name, without its ending."""
    return folder / (f".{one}.staged" if one else ".staged")


def staged(staging: Path, output: str) -> Path:
    """Where an output, `SHARD:MEMBER` with the shard relative to the folder of outputs, is staged."""
    return staging / content_id("member", output)  # whatever it is called


def find_staged(shard: Path, member: str) -> Path | None:
    """The staged file of a member, wherever above its shard the folder of outputs is; None where there is none."""
    for folder in shard.parents:
        output = f"{shard.relative_to(folder).as_posix()}:{member}"
        for staging in (staging_folder(folder, shard.stem), staging_folder(folder)):
            if staging.is_dir() and (path := staged(staging, output)).is_file():
                return path
    return None
