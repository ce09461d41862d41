"""What became of a wish, as a page says it: a verdict for each part of it, or in words why there is none."""

from collections.abc import Awaitable

from cryptostream.errors import CryptostreamError
from cryptostream.web import shown
from cryptostream.web.dashboard.telling import Message


async def verdicts(asked: Awaitable[shown.Answered]) -> Message:
    """What those answered who obey. Raises what asking raises."""
    answer = await asked
    found = [verdict.model_dump(include={"what", "accepted", "why"}) for verdict in answer.verdicts]
    return {"verdicts": found, "unanswered": answer.unanswered}


def failed(error: CryptostreamError) -> Message:
    """What happened, and what to do."""
    return {"failed": " - ".join(filter(None, (str(error), error.hint)))}
