"""What an edited image says of itself: how it was made, without a word that is not asked for; plain data."""

from dataclasses import dataclass

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source type of a picture that is partly made by a trained model (IPTC NewsCodes)."""

ALSO = ("run", "name", "prompt")
"""What is said only when it is asked for: the run, the source's file name, the prompt."""


@dataclass(frozen=True)
class Claim:
    """How an image was made.

    Attributes:
        edit_id: Id of the edit, 32 hexadecimal characters.
        model: Id of the model.
        source: sha256 of the source file's bytes.
        directions: Ids of the directions.
        strengths: What was added along each.
        software: Name and version of the program.
        before: Id of the edit that the source itself claimed, or empty.
        run, name, prompt: See `ALSO`; empty where not asked for.
    """

    edit_id: str
    model: str
    source: str
    directions: tuple[str, ...]
    strengths: tuple[float, ...]
    software: str
    before: str = ""
    run: str = ""
    name: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Marks:
    """What is to be said in the files of a run, with files of keys in place of keys.

    Attributes:
        claim: Whether the metadata say how the image was made.
        also: What they say besides: some of `ALSO`.
        sign, certificate: PEM files of a key and of its certificates; both or none.
        watermark: A file that holds the key of an invisible mark.
    """

    claim: bool = True
    also: tuple[str, ...] = ()
    sign: str = ""
    certificate: str = ""
    watermark: str = ""


PLAIN = Marks()
"""The claim alone."""
