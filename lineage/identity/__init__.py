"""What code, modules and machines are, as digests that change when they do."""
