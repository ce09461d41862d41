"""A secret out of a file of its own, as Docker and Kubernetes mount them."""

from pathlib import Path


def content(file: Path, *, most: int, what: str) -> str:
    """The text of a file without blanks around it.

    Raises ValueError for one that cannot be read, is no text, is empty, or has more bytes than `what` may have; it says
    so, and nothing of what is in there.
    """
    try:
        with file.open("rb") as opened:
            found = opened.read(most + 1)
        text = found.decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if not text:
        raise ValueError("is empty")
    if len(found) > most:
        raise ValueError(f"is too large for {what}")
    return text
