"""Fuzz targets of the decoder, of the whole processor and of chips (libFuzzer)."""
