"""Fuzz targets of the decoder, of the whole processor, of each chip, of images and of the network."""
