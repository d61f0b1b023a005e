"""The doors of the lineage service: HTTP in and out of what `lineage.service` reads and answers."""
