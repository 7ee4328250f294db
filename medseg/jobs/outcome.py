"""What became of one item, and which errors are the item's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from medseg.errors import MedsegError, ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: its result, or the error that stopped it."""

    item: Item
    result: Result | None = None
    error: Exception | None = None

    def unwrap(self) -> Result:
        """The result.

        Raises:
            Exception: The error that stopped the item, if one did.
        """
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


def attempt(function: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    """Run ``function`` on one item and keep its error, unless the error is a fault of ours."""
    try:
        return Outcome(item, function(item))
    except MemoryError:
        return Outcome(item, error=ResourceError(f"{item}: out of memory"))
    except (MedsegError, OSError, ValueError, RuntimeError) as error:
        return Outcome(item, error=error)


def in_one_line(error: Exception) -> str:
    """What an error says, for results and journals; faults that are not ours name their class."""
    text = str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
