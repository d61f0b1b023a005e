"""Polars data sources of Great Expectations: assets, batches, saving and loading, and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import polars as pl
import pytest

from validations.suite import load_gx

ROOT = Path(__file__).parents[3]
BY_MONTH = r"days_(?P<year>\d{4})-(?P<month>\d{2})\.\w+$"
MONTHS = [(2013, 11), (2013, 12), (2014, 1), (2014, 2)]
DAYS = pl.DataFrame({"day": pl.date_range(date(2013, 11, 15), date(2014, 2, 3), eager=True)}).with_row_index("row")


@pytest.fixture(scope="module")
def gx():
    """GX with the Polars data source; imported here, as it takes seconds and changes the process."""
    gx = load_gx()
    import validations.datasource  # noqa: F401

    return gx


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of each month of DAYS, in both formats."""
    folder = tmp_path_factory.mktemp("days")
    for year, month in MONTHS:
        rows = DAYS.filter(pl.col("day").dt.year() == year, pl.col("day").dt.month() == month)
        rows.write_parquet(folder / f"days_{year}-{month:02}.parquet")
        rows.write_csv(folder / f"days_{year}-{month:02}.csv")
    return folder


@pytest.fixture
def source(gx):
    return gx.get_context(mode="ephemeral").data_sources.add_polars("polars")


@pytest.fixture
def parquet(source, folder):
    return source.add_parquet_asset("days", path=folder)


def rows(batch) -> pl.DataFrame:
    return batch.data.frame.collect().sort("row")


def dates(batch) -> list[date]:
    return rows(batch)["day"].to_list()


@pytest.fixture
def collects(monkeypatch) -> list[str]:
    """One entry for each time that a lazy frame is computed."""
    made, collect = [], pl.LazyFrame.collect

    def counted(self, *arguments, **options):
        made.append(self.explain())
        return collect(self, *arguments, **options)

    monkeypatch.setattr(pl.LazyFrame, "collect", counted)
    return made


# --- frames ---


@pytest.mark.parametrize("frame", [DAYS, DAYS.lazy()], ids=["DataFrame", "LazyFrame"])
def test_a_frame_given_per_run(gx, source, frame):
    """A DataFrame or LazyFrame under `dataframe` is the batch; no name of it holds the frame."""
    definition = source.add_dataframe_asset("frames").add_batch_definition_whole_dataframe("all")

    batch = definition.get_batch({"dataframe": frame})

    assert rows(batch).equals(DAYS)
    assert (batch.id, batch.metadata) == ("polars-frames", {})
    assert batch.validate(gx.expectations.ExpectTableRowCountToEqual(value=DAYS.height)).success
    assert [{"dataframe": "<DATAFRAME>"}] == definition.get_batch_identifiers_list({"dataframe": frame})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, 'run with batch_parameters={"dataframe": frame}'),
        ({}, 'run with batch_parameters={"dataframe": frame}'),
        ({"dataframe": None}, 'run with batch_parameters={"dataframe": frame}'),
        ({"dataframe": DAYS, "year": 2013}, "and nothing else"),
        ({"dataframe": pd.DataFrame({"a": [1]})}, "not pandas.DataFrame; give polars.from_pandas("),
        ({"dataframe": "days.parquet"}, "polars.scan_parquet('days.parquet')"),
        ({"dataframe": Path("days.parquet")}, "polars.scan_parquet('days.parquet')"),
    ],
)
def test_what_is_no_polars_frame_is_refused(gx, source, given, said):
    """The error names the asset and says what to give instead."""
    definition = source.add_dataframe_asset("frames").add_batch_definition_whole_dataframe("all")

    with pytest.raises(gx.exceptions.exceptions.BuildBatchRequestError, match="'frames'") as error:
        definition.get_batch(given)

    assert said in str(error.value)


# --- where a path leads ---


def test_a_folder_is_its_files_sorted(source, tmp_path):
    """Sub-folders too; other files and hidden ones are left out."""
    for at, name in enumerate(["b.csv", "a.csv", "sub/c.csv", "_tmp/d.csv", ".e.csv", "readme.txt"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"row\n{at}\n")

    assert [1, 0, 2] == source.add_csv_asset("a", path=tmp_path).frame().collect()["row"].to_list()
    assert [1] == source.add_csv_asset("b", path=tmp_path / "a.csv").frame().collect()["row"].to_list()
    assert [1, 0] == source.add_csv_asset("c", path=str(tmp_path / "*.csv")).frame().collect()["row"].to_list()
    assert [1, 0, 2] == source.add_csv_asset("d", path=f"{tmp_path}/**/[a-c].csv").frame().collect()["row"].to_list()


def test_hive_folders_give_columns(source, tmp_path):
    """Those below the asset's folder do, those above it do not, for the whole and for one file."""
    for year in (2013, 2014):
        folder = tmp_path / "run=7" / "table" / f"year={year}"
        folder.mkdir(parents=True)
        pl.DataFrame({"row": [year - 2013]}).write_parquet(folder / "part.parquet")
    asset = source.add_parquet_asset("hive", path=tmp_path / "run=7" / "table")
    plain = source.add_parquet_asset("plain", path=tmp_path / "run=7" / "table", hive_partitioning=False)

    assert asset.frame().collect().rows() == [(0, 2013), (1, 2014)]
    batch = asset.add_batch_definition_yearly("years", regex=r"year=(?P<year>\d+)/").get_batch({"year": 2013})
    assert rows(batch).rows(named=True) == [{"row": 0, "year": 2013}]
    assert plain.frame().collect().columns == ["row"]


def test_a_relative_path(gx, folder, tmp_path, monkeypatch):
    """Starts at the context's root directory if that has it, else at the working directory."""
    monkeypatch.chdir(folder.parent)
    context = gx.get_context(mode="file", project_root_dir=tmp_path)
    source = context.data_sources.add_polars("polars")

    assert source.add_parquet_asset("here", path=folder.name).frame().collect().height == DAYS.height
    (Path(context.root_directory) / folder.name).mkdir()
    DAYS.head(1).write_parquet(Path(context.root_directory) / folder.name / "one.parquet")
    assert source.get_asset("here").frame().collect().height == 1


# --- options ---


def test_options_of_the_scan(source, tmp_path):
    """They reach Polars, and data types are given as types or as text."""
    (tmp_path / "a.csv").write_text("1;x;2013-01-01T00:00:00\nNA;y;2013-02-01T00:00:00\n")
    kinds = {"column_1": pl.Categorical, "column_2": "Datetime('ms', 'UTC')"}
    asset = source.add_csv_asset(
        "a", path=tmp_path, separator=";", has_header=False, null_values="NA", schema_overrides=kinds
    )

    found = asset.frame().collect()

    assert found.schema == {"column_0": pl.Int64, "column_1": pl.Categorical(), "column_2": pl.Datetime("ms", "UTC")}
    assert found["column_0"].to_list() == [1, None]


@pytest.mark.parametrize(
    "kind",
    [
        pl.Int64,
        pl.Datetime("us", "America/New_York"),
        pl.Decimal(10, 2),
        pl.Enum(["a"]),
        pl.List(pl.Struct({"a": pl.Date})),
        pl.Array(pl.Int8, 2),
        pl.Duration("ms"),
    ],
    ids=str,
)
def test_a_data_type_is_read_as_it_prints(kind):
    """What Polars prints is what may be written; so is Python's way."""
    from validations.sources.files import dtype

    assert dtype(str(kind)) == kind
    assert dtype("pl.Datetime('ms')") == pl.Datetime("ms")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seperator": ";"}, "did you mean separator"),
        ({"with_column_names": list}, "no option 'with_column_names' that can be saved"),
        ({"schema_overrides": {"a": "Intt"}}, "'Intt' is no data type"),
        ({"schema_overrides": {"a": "__import__('os')"}}, "is no data type"),
        ({"null_values": object()}, "'null_values' cannot be saved as JSON"),
    ],
)
def test_wrong_options_are_refused(source, folder, options, said):
    """Before anything is read or saved."""
    with pytest.raises(ValueError, match=said):
        source.add_csv_asset("a", path=folder, **options)

    assert [] == source.assets


# --- batches ---


def test_the_whole(parquet, folder):
    """All rows of all files; under GX's name for it too."""
    for definition in (
        parquet.add_batch_definition_whole("whole"),
        parquet.add_batch_definition_whole_directory("directory"),
    ):
        assert [{"path": str(folder)}] == definition.get_batch_identifiers_list()
        assert rows(definition.get_batch()).equals(DAYS)


def test_gx_names_for_folders(source, folder):
    """Spark's directory assets are the same assets."""
    found = source.add_directory_parquet_asset("a", data_directory=folder)
    other = source.add_directory_csv_asset("b", data_directory=folder, try_parse_dates=True)

    assert found.frame().collect().sort("row").equals(DAYS)
    assert other.frame().collect().sort("row")["day"].equals(DAYS["day"])


def test_one_file(parquet):
    """By its name relative to the folder."""
    batch = parquet.add_batch_definition_path("december", "days_2013-12.parquet").get_batch()

    assert dates(batch)[0] == date(2013, 12, 1)
    assert len(dates(batch)) == 31
    assert batch.metadata == {"path": "days_2013-12.parquet"}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("way", [{"regex": BY_MONTH}, {"column": "day"}], ids=["regex", "column"])
def test_months(source, folder, kind, way):
    """Each month is a batch; without parameters it is the last, with a year the last of that year."""
    add = source.add_csv_asset if kind == "csv" else source.add_parquet_asset
    options = {"try_parse_dates": True} if kind == "csv" else {}
    definition = add("days", path=folder, **options).add_batch_definition_monthly("months", **way)

    known = [(int(each["year"]), int(each["month"])) for each in definition.get_batch_identifiers_list()]

    assert known == MONTHS
    assert {(day.year, day.month) for day in dates(definition.get_batch())} == {(2014, 2)}
    assert {(day.year, day.month) for day in dates(definition.get_batch({"year": 2013}))} == {(2013, 12)}
    assert {(day.year, day.month) for day in dates(definition.get_batch({"month": 11}))} == {(2013, 11)}
    january = definition.get_batch({"year": "2014", "month": "01"})
    assert dates(january) == [date(2014, 1, day) for day in range(1, 32)]


def test_years_and_days(parquet):
    """As months, and the order can be turned: then the first is the one taken."""
    years = parquet.add_batch_definition_yearly("years", column="day", sort_ascending=False)
    days = parquet.add_batch_definition_daily("days", column="day")

    assert [{"year": 2014}, {"year": 2013}] == years.get_batch_identifiers_list()
    assert {day.year for day in dates(years.get_batch())} == {2013}
    assert len(days.get_batch_identifiers_list()) == DAYS.height
    assert [date(2014, 2, 3)] == dates(days.get_batch())
    assert [date(2013, 12, 24)] == dates(days.get_batch({"year": 2013, "month": 12, "day": 24}))


@pytest.mark.parametrize("zone", [None, "UTC", "Pacific/Kiritimati", "America/Sao_Paulo"])
def test_every_dated_row_is_in_one_batch(source, tmp_path, zone):
    """A datetime's month is that of its own time zone; no row is lost at the edge, save those without a date."""
    start = datetime(2012, 12, 30)
    stamps = pl.datetime_range(start, start + timedelta(days=70), "1h", eager=True).dt.replace_time_zone("UTC")
    stamps = stamps.dt.replace_time_zone(None) if zone is None else stamps.dt.convert_time_zone(zone)
    frame = (
        pl.DataFrame({"at": stamps})
        .with_row_index("row")
        .vstack(pl.DataFrame({"row": [9999], "at": [None]}, schema={"row": pl.UInt32, "at": stamps.dtype}))
    )
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=100)
    definition = source.add_parquet_asset("at", path=tmp_path).add_batch_definition_monthly("months", column="at")

    batches = [rows(definition.get_batch(each)) for each in definition.get_batch_identifiers_list()]

    assert pl.concat(batches).sort("row").equals(frame.drop_nulls())
    for batch in batches:
        assert batch.select(pl.col("at").dt.strftime("%Y-%m")).n_unique() == 1


def test_months_are_ordered_as_numbers(source, tmp_path):
    """GX orders the text of file names, for which September is after December."""
    for month in (9, 10, 12):
        (tmp_path / f"m-2013-{month}.csv").write_text(f"row\n{month}\n")
    asset = source.add_csv_asset("a", path=tmp_path)
    definition = asset.add_batch_definition_monthly("m", regex=r"m-(?P<year>\d+)-(?P<month>\d+)")

    assert ["9", "10", "12"] == [each["month"] for each in definition.get_batch_identifiers_list()]
    assert [12] == rows(definition.get_batch())["row"].to_list()


def test_a_slice_of_the_batches(parquet):
    """GX's batch_slice takes from the ordered batches."""
    definition = parquet.add_batch_definition_monthly("months", column="day")
    request = parquet.build_batch_request(partitioner=definition.partitioner, batch_slice="[:-2]")

    assert [(each["year"], each["month"]) for each in parquet.get_batch_identifiers_list(request)] == MONTHS[:2]
    assert {(day.year, day.month) for day in dates(parquet.get_batch(request))} == {MONTHS[1]}


def test_nothing_is_read_to_make_a_batch(parquet, collects):
    """Save the dates, to know whether there is such a month."""
    parquet.add_batch_definition_whole("whole").get_batch()
    parquet.add_batch_definition_path("file", "days_2013-12.parquet").get_batch()
    parquet.add_batch_definition_monthly("names", regex=BY_MONTH).get_batch()
    assert [] == collects

    parquet.add_batch_definition_monthly("dates", column="day").get_batch({"year": 2013, "month": 12})

    assert len(collects) == 1
    assert "PROJECT 1/2 COLUMNS" in collects[0]


@pytest.mark.parametrize("options", [None, {"year": 2013}, {"year": 2013, "month": 11}])
def test_the_batches_of_gx_on_pandas(gx, folder, options):
    """The same list of identifiers, the same batch chosen, the same metadata and name."""
    context = gx.get_context(mode="ephemeral")
    theirs = context.data_sources.add_pandas_filesystem("source", base_directory=folder).add_csv_asset("days")
    ours = gx.get_context(mode="ephemeral").data_sources.add_polars("source").add_csv_asset("days", path=folder)
    regex = BY_MONTH.replace(r"\w+$", "csv")
    them, us = (asset.add_batch_definition_monthly("months", regex=regex) for asset in (theirs, ours))

    assert us.get_batch_identifiers_list(options) == them.get_batch_identifiers_list(options)
    our, their = us.get_batch(options), them.get_batch(options)
    assert (our.id, our.metadata) == (their.id, their.metadata)
    assert rows(our)["row"].to_list() == their.data.dataframe["row"].to_list()
    assert us.partitioner == them.partitioner
    assert us.data_asset.get_batch_parameters_keys(us.partitioner) == them.data_asset.get_batch_parameters_keys(
        them.partitioner
    )


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nothing.parquet", "there is no file or folder"),
        ("*.arrow", "there is no file or folder"),
        ("empty", "has no .parquet file"),
        ("text", "bad.parquet is no Parquet file"),
        ("s3://bucket/key", "is no local path"),
    ],
)
def test_there_is_nothing_to_read(gx, source, tmp_path, path, said):
    """The error names path, asset and data source; the asset is not added."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "bad.parquet").write_text("no Parquet")
    DAYS.write_parquet(tmp_path / "text" / "a.parquet")

    with pytest.raises(gx.datasource.fluent.interfaces.TestConnectionError, match=said) as error:
        source.add_parquet_asset("days", path=path if "://" in path else tmp_path / path)

    assert "The asset 'days' of the data source 'polars' cannot be read: " in str(error.value)
    assert Path(path).name in str(error.value)
    assert [] == source.assets


def test_a_csv_that_polars_cannot_read(gx, source, tmp_path):
    """Polars' own reason is told, with the file."""
    (tmp_path / "a.csv").touch()

    with pytest.raises(gx.datasource.fluent.interfaces.TestConnectionError, match=r"a\.csv as CSV \(empty CSV\)"):
        source.add_csv_asset("days", path=tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("row;b\n1;2\n3;4;5\n", r"b\.csv as CSV \(line 3 has 3 fields and the header 2: correct the line"),
        ("row;b\n" + "1;2\n" * 200 + "1;x\n", r"b\.csv as CSV \(could not parse `x` as dtype `i64` at column 'b'"),
    ],
    ids=["ragged", "late"],
)
@pytest.mark.parametrize("way", ["whole", "path"])
def test_a_csv_whose_wrong_rows_are_in_a_column_that_nobody_asks_about(gx, source, tmp_path, content, said, way):
    """The batch is refused, with the file that is wrong."""
    (tmp_path / "a.csv").write_text("row;b\n1;2\n")
    (tmp_path / "b.csv").write_text(content)
    asset = source.add_csv_asset("days", path=tmp_path, separator=";")
    wrong = asset.add_batch_definition_whole("w") if way == "whole" else asset.add_batch_definition_path("p", "b.csv")

    with pytest.raises(gx.datasource.fluent.interfaces.TestConnectionError, match=said):
        wrong.get_batch()

    assert asset.add_batch_definition_path("a", "a.csv").get_batch() is not None


def test_a_csv_batch_of_dates_is_read_whole(gx, source, tmp_path):
    """A part by a column of dates is a filter on rows that are all sound."""
    (tmp_path / "a.csv").write_text("row,day\n1,2013-01-01\n2,2013-02-01,x\n")
    asset = source.add_csv_asset("days", path=tmp_path, try_parse_dates=True)
    january = asset.add_batch_definition_monthly("months", column="day")

    with pytest.raises(gx.datasource.fluent.interfaces.TestConnectionError, match="line 3 has 3 fields"):
        january.get_batch({"year": 2013, "month": 1})


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("row,b\n1,2\n3,4,5\n", {"truncate_ragged_lines": True}),
        ("x\nrow,row\n1,2\n", {"new_columns": ["row", "b"], "skip_rows": 1}),
    ],
)
def test_what_a_csv_option_allows_is_no_error(source, tmp_path, content, options):
    """Polars' options for ragged lines and for names decide."""
    (tmp_path / "a.csv").write_text(content)
    asset = source.add_csv_asset("days", path=tmp_path, **options)

    assert ["row", "b"] == asset.add_batch_definition_whole("w").get_batch().data.frame.collect().columns


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a,b\n1,x\n\n3,y\n", {}),
        ("a\n1\n\n3\n\n\n", {}),
        ("a\nx\n\ny\n", {}),
        ("a,b\r\n1,x\r\n\r\n3,y\r\n", {}),
        ("\na,b\n\n1,x\n", {}),
        # Rows of separators are rows, and lines within quotes are none.
        ('a,b\n,\n\n1,"x\n\ny"\n,\n', {}),
        ("a;b\n# no row\n;\n\n1;x\n", {"separator": ";", "comment_prefix": "#"}),
        ("1,x\n\n,\n", {"has_header": False}),
        ("title\na,b\n,\n\n1,x\n", {"skip_rows": 1}),
    ],
)
@pytest.mark.parametrize("files", [1, 2])
def test_a_blank_line_of_a_csv_file_is_no_row(source, tmp_path, content, options, files):
    """The same rows as pandas reads, also of several files at once."""
    for at in range(files):
        (tmp_path / f"{at}.csv").write_text(content, newline="")
    names = {"separator": "sep", "comment_prefix": "comment", "skip_rows": "skiprows"}
    given = {names[name]: value for name, value in options.items() if name in names}
    header = None if options.get("has_header") is False else "infer"
    theirs = [pd.read_csv(tmp_path / f"{at}.csv", header=header, **given) for at in range(files)]
    asset = source.add_csv_asset("days", path=tmp_path, **options)

    frame = asset.add_batch_definition_whole("w").get_batch().data.frame.collect()

    assert [list(row) for row in frame.rows()] == pd.concat(theirs).replace({float("nan"): None}).values.tolist()
    assert frame.equals(asset.frame().collect())


@pytest.mark.parametrize(("content", "made"), [("a,b\n1,\n\n,2\n", 3), ("a,b\n1,x\n,y\n", 2)])
def test_only_a_file_without_any_full_column_is_read_again(source, tmp_path, monkeypatch, content, made):
    """A blank line lacks all values, so that a column without missing ones tells that there is none."""
    (tmp_path / "a.csv").write_text(content)
    batch = source.add_csv_asset("days", path=tmp_path).add_batch_definition_whole("w")
    collects, collect = [], pl.LazyFrame.collect
    monkeypatch.setattr(pl.LazyFrame, "collect", lambda frame, **more: collects.append(1) or collect(frame, **more))

    batch.get_batch()

    assert len(collects) == made


def test_a_csv_header_that_names_a_column_twice(gx, source, tmp_path):
    """Refused when the asset is added, with the file and the column."""
    (tmp_path / "a.csv").write_text("row,b\n1,2\n")
    (tmp_path / "b.csv").write_text("row,row\n1,2\n")

    with pytest.raises(gx.datasource.fluent.interfaces.TestConnectionError, match=r"b\.csv .*column 'row' 2 times"):
        source.add_csv_asset("days", path=tmp_path)


def test_a_batch_of_dates_in_a_column_whose_name_polars_takes_for_a_pattern(source, tmp_path):
    """The dates of that column part the rows."""
    DAYS.with_columns(DAYS["day"].alias("^.*$"), day=None).write_parquet(tmp_path / "a.parquet")
    years = source.add_parquet_asset("days", path=tmp_path).add_batch_definition_yearly("years", column="^.*$")

    assert [{"year": 2013}, {"year": 2014}] == [dict(each) for each in years.get_batch_identifiers_list()]
    assert 34 == rows(years.get_batch({"year": 2014})).height


def test_files_that_vanished(gx, source, tmp_path):
    """Found when the batch is asked for."""
    DAYS.write_parquet(tmp_path / "a.parquet")
    definition = source.add_parquet_asset("days", path=tmp_path).add_batch_definition_whole("whole")
    (tmp_path / "a.parquet").unlink()

    with pytest.raises(gx.datasource.fluent.interfaces.TestConnectionError, match=r"has no \.parquet file"):
        definition.get_batch()


@pytest.mark.parametrize("way", [{"regex": BY_MONTH}, {"column": "day"}], ids=["regex", "column"])
@pytest.mark.parametrize("asked", [{"year": 2020}, {"month": 13}, {"year": 2013, "month": 1}, {"year": 2**40}])
def test_no_such_batch(gx, parquet, way, asked):
    """GX's own error, with asset and parameters."""
    definition = parquet.add_batch_definition_monthly("months", **way)

    assert [] == definition.get_batch_identifiers_list(asked)
    with pytest.raises(gx.exceptions.exceptions.NoAvailableBatchesError) as error:
        definition.get_batch(asked)
    assert f"The asset 'days' of the data source 'polars' has no batch for {asked}" in str(error.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"years": 2013}, "no batch parameter 'years' here; it has year, month"), ({"month": 1.5}, "not 1.5"),
     ({"month": "May"}, "not 'May'"), ({"month": True}, "not True")],
)  # fmt: skip
def test_wrong_parameters(gx, parquet, asked, said):
    """The error names them."""
    definition = parquet.add_batch_definition_monthly("months", column="day")

    with pytest.raises(gx.exceptions.InvalidBatchRequestError, match=said):
        definition.get_batch(asked)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda asset: asset.add_batch_definition_monthly("x"), ValueError, "give one"),
        (lambda asset: asset.add_batch_definition_monthly("x", BY_MONTH, column="day"), ValueError, "give one"),
        (lambda asset: asset.add_batch_definition_daily("x", column="row"), ValueError, "'row' is UInt32, which"),
        (lambda asset: asset.add_batch_definition_daily("x", column="Day"), ValueError, "no column 'Day'.*row, day"),
        (lambda asset: asset.add_batch_definition_daily("x", BY_MONTH), ValueError, "missing from the regex: day"),
        (lambda asset: asset.add_batch_definition_yearly("x", BY_MONTH), ValueError, "do not match.*month"),
        (lambda asset: asset.add_batch_definition_yearly("x", r"(?P<year>\d)(\d)"), ValueError, "unnamed_group_2"),
        (lambda asset: asset.add_batch_definition_path("x", "a.parquet"), ValueError, "no file 'a.parquet'.*2013-11"),
    ],
)  # fmt: skip
def test_a_batch_definition_that_cannot_be(parquet, call, error, said):
    """Refused when it is added, and nothing is kept."""
    with pytest.raises(error, match=said):
        call(parquet)

    assert [] == parquet.batch_definitions


def test_a_partitioner_that_polars_has_not(parquet):
    """GX's SQL assets have more; the error says what there is here."""
    from great_expectations.core.partitioners import PartitionerModInteger

    definition = parquet.add_batch_definition("mod", PartitionerModInteger(mod=2, column_name="row"))

    with pytest.raises(ValueError, match="Polars assets have no PartitionerModInteger; use "):
        definition.get_batch()


# --- contexts ---


def test_a_context_keeps_its_sources(gx, folder):
    """Add, get, add or update, update and delete, as any data source of GX."""
    sources = gx.get_context(mode="ephemeral").data_sources
    sources.add_polars("polars").add_parquet_asset("days", path=folder)

    assert sources.get("polars").get_asset("days").frame().collect().height == DAYS.height
    assert sources.add_or_update_polars("polars").assets == []
    assert sources.update_polars("polars").name == "polars"
    sources.delete("polars")
    with pytest.raises(KeyError):
        sources.get("polars")


RUN = """
import json, sys
import validations.datasource
import great_expectations as gx

context = gx.get_context(mode="file", project_root_dir=sys.argv[1])
asset = context.data_sources.get("polars").get_asset("days")
known = {each.name: [dict(batch) for batch in each.get_batch_identifiers_list()] for each in asset.batch_definitions}
result = context.checkpoints.get("nightly").run(batch_parameters={"year": 2013})
print(json.dumps({"known": known, "success": result.success, "described": json.loads(result.describe()),
                  "result": [each.to_json_dict() for each in result.run_results.values()]}))
"""


@pytest.fixture(scope="module")
def reloaded(gx, folder, tmp_path_factory) -> SimpleNamespace:
    """A project saved here, and what its checkpoint did in a process of its own."""
    project = tmp_path_factory.mktemp("project")
    context = gx.get_context(mode="file", project_root_dir=project)
    asset = context.data_sources.add_polars("polars").add_parquet_asset(
        "days", path=folder, low_memory=True, batch_metadata={"owner": "us"}
    )
    asset.add_batch_definition_whole("whole")
    asset.add_batch_definition_path("file", "days_2013-12.parquet")
    for length in ("yearly", "monthly", "daily"):
        getattr(asset, f"add_batch_definition_{length}")(f"{length} by column", column="day", sort_ascending=False)
    by_name = asset.add_batch_definition_monthly("monthly by name", regex=BY_MONTH)
    asset.add_batch_definition_yearly("yearly by name", regex=r"days_(?P<year>\d+)-.*\.parquet")
    suite = gx.ExpectationSuite(name="days")
    suite.add_expectation(gx.expectations.ExpectTableRowCountToEqual(value=31))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeUnique(column="row"))
    suite.add_expectation(gx.expectations.ExpectColumnMaxToBeBetween(column="row", max_value=1))
    context.suites.add(suite)
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="days", data=by_name, suite=suite))
    docs = gx.checkpoint.actions.UpdateDataDocsAction(name="docs")
    context.checkpoints.add(gx.Checkpoint(name="nightly", validation_definitions=[definition], actions=[docs]))
    known = {each.name: each.get_batch_identifiers_list() for each in asset.batch_definitions}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(project)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT), "GX_ANALYTICS_ENABLED": "false"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(known=known, project=project, **{"found": json.loads(done.stdout.splitlines()[-1])})


def test_a_reloaded_project_has_the_same_batches(reloaded):
    """Every kind of batch definition comes back as it was saved."""
    assert len(reloaded.known) == 7
    assert reloaded.found["known"] == reloaded.known


def test_a_reloaded_checkpoint_runs(reloaded):
    """On the batch that the parameters choose; the results say which it was."""
    (result,) = reloaded.found["result"]
    month = {"path": "days_2013-12.parquet", "year": "2013", "month": "12"}

    assert reloaded.found["success"] is result["success"] is False
    assert [each["success"] for each in result["results"]] == [True, True, False]
    assert result["meta"]["batch_spec"]["batch_identifiers"] == month
    assert result["meta"]["batch_spec"]["reader_options"] == {"low_memory": True}
    assert result["meta"]["active_batch_definition"]["batch_identifiers"] == month
    assert reloaded.found["described"]["statistics"]["evaluated_validations"] == 1


def test_a_reloaded_checkpoint_writes_results_and_docs(reloaded):
    """Where GX's file contexts keep them."""
    uncommitted = reloaded.project / "gx" / "uncommitted"
    (stored,) = (uncommitted / "validations").rglob("*.json")
    site = uncommitted / "data_docs" / "local_site"

    assert json.loads(stored.read_text())["meta"]["batch_spec"]["reader_method"] == "scan_parquet"
    assert (site / "index.html").is_file()
    (page,) = (site / "validations").rglob("*.html")
    assert "days_2013-12.parquet" in page.read_text()


def test_what_is_told_of_a_frame_is_json(gx, tmp_path):
    """Of a checkpoint on a frame too: nothing that is written holds the frame or its rows."""
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_polars("polars").add_dataframe_asset("frames")
    suite = context.suites.add(
        gx.ExpectationSuite(name="s", expectations=[gx.expectations.ExpectTableRowCountToEqual(value=1)])
    )
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(name="v", data=asset.add_batch_definition_whole_dataframe("all"), suite=suite)
    )
    checkpoint = context.checkpoints.add(gx.Checkpoint(name="c", validation_definitions=[definition]))
    marked = pl.DataFrame({"value": ["a-row-of-the-frame"]}, schema={"value": pl.String})

    result = checkpoint.run(batch_parameters={"dataframe": marked.with_columns(at=datetime(2013, 1, 1, tzinfo=UTC))})

    assert result.success
    (run,) = result.run_results.values()
    told = [result.describe(), json.dumps(run.to_json_dict()), str(run), str(result)]
    assert not any("a-row-of-the-frame" in text or "shape:" in text or "PROJECT" in text for text in told)
    assert run.to_json_dict()["meta"]["batch_spec"] == {"batch_data": "PolarsLazyFrame"}
    batch = definition.data.get_batch({"dataframe": marked})
    assert "a-row-of-the-frame" not in str(batch) + json.dumps(batch.metadata) + batch.id


def test_a_frame_is_parted_by_a_column(gx, source):
    """A month of a frame is a filter on it; without parameters the latest one is meant."""
    days = [date(2013, month, day) for month in (1, 2, 11) for day in (1, 2)]
    frame = pl.LazyFrame({"day": days, "n": range(6)})
    monthly = source.add_dataframe_asset("frames by month").add_batch_definition_monthly("monthly", "day")

    latest = monthly.get_batch({"dataframe": frame})
    second = monthly.get_batch({"dataframe": frame, "year": 2013, "month": 2})

    assert latest.data.dataframe.collect()["n"].to_list() == [4, 5]
    assert second.data.dataframe.collect()["n"].to_list() == [2, 3]
    assert [each["month"] for each in monthly.get_batch_identifiers_list({"dataframe": frame})] == [1, 2, 11]
    assert (latest.metadata["year"], latest.metadata["month"], "dataframe" in latest.metadata) == (2013, 11, False)
    with pytest.raises(gx.exceptions.exceptions.NoAvailableBatchesError, match="no such batch"):
        monthly.get_batch({"dataframe": frame, "year": 2014})
    with pytest.raises(gx.exceptions.InvalidBatchRequestError, match="no column 'day' to part batches by"):
        monthly.get_batch({"dataframe": frame.rename({"day": "on"})})
