"""Nothing to save where there is no GPU; slime only looks whether the library is there."""

import contextlib
from typing import Any


class _Saver:
    memory_margin_bytes = 0

    def pause(self, tag: Any = None) -> None: ...

    def resume(self, tag: Any = None) -> None: ...

    def disable(self) -> Any:
        return contextlib.nullcontext()

    def get_cpu_backup(self, _: Any) -> None: ...


torch_memory_saver = _Saver()
