"""What the lineage service reads and answers; its door is `lineage.api`."""
