"""Fuzz targets of the decoder and of the whole processor (libFuzzer)."""
