"""Media of drives: raw and qcow2 images, private overlays, and what CDs say of themselves."""

from .eltorito import BootEntry, Emulation, read_catalog
from .image import Kind, open_medium, probe
from .iso9660 import Volume, read_volume
from .medium import FullError, Medium, ProtectedError, StorageError, read_bytes
from .overlay import Overlay

__all__ = [
    "BootEntry",
    "Emulation",
    "FullError",
    "Kind",
    "Medium",
    "Overlay",
    "ProtectedError",
    "StorageError",
    "Volume",
    "open_medium",
    "probe",
    "read_bytes",
    "read_catalog",
    "read_volume",
]
