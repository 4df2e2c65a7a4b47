"""How `jmp shell` starts the user's shell."""

from __future__ import annotations

from .common import Strict


class ShellConfigV1Alpha1(Strict):
    """`use_profiles`: whether the shell reads the user's own start-up files."""

    use_profiles: bool = False
