"""Great Expectations' metrics as Polars expressions; importing this package registers them."""

from validations.metrics import aggregates, columns, distinct, queries, rows, samples, tables

for _room in (tables, aggregates, distinct, columns, rows, queries, samples):
    _room.register_all()
