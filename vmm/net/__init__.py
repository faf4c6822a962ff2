"""The network that a machine's card is plugged into: frames as data, and a network of one segment that is all ours."""
