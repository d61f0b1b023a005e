"""From a row back to the records behind it, and forwards: what reads what `lineage.rows` has written."""
