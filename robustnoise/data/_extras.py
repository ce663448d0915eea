"""Optional packages of the sources; the helper itself serves more than data and lies in `robustnoise.extras`."""

from __future__ import annotations

from robustnoise.extras import require

__all__ = ["require"]
