"""A wish to stop, heard between two iterations."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Within its block, Ctrl-C or a SIGTERM is noted; a second one interrupts at once.

    An interrupt in the middle of an optimizer step would leave weights that no checkpoint may
    keep. Outside the main thread, where signals do not arrive, it does nothing.

    Attributes:
        asked: Whether a signal came.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Stop here if asked to.

        Raises:
            KeyboardInterrupt: If a signal came.
        """
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, _: int, __: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
