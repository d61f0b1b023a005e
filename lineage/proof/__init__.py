"""Recorded things computed again and compared, and signed manifests of what rests on what."""
