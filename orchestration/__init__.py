"""When and where: the command line, Dagster, and the processes that `headwater up` keeps."""
