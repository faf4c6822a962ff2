"""Does it boot, how far, and why not further?"""
