"""The C core as cffi builds it; its functions and types are those of machine.h, vmx.h and emulate.h."""

from typing import Any

ffi: Any
lib: Any
