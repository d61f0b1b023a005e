"""Your pipelines: every module here is searched for `Pipeline`s. `flights` is the example, complete."""
