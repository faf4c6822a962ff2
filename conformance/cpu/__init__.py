"""What a vCPU does in corners that no system's boot visits: small programs of our own, a result line a behaviour
(docs/behaviours.md)."""
