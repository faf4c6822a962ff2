"""Text screens and keyboards as data: what a VGA shows in a text mode, and which keys write a text.

Pure Python without a machine: `vmm` makes screens, whoever drives machines reads them.
"""
