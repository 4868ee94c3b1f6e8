"""One engine, asked line by line.

peers.py ENGINE DIRECTORY THREADS [CATALOG]

The engine reads the Parquet files of the directory; `duckdb-native` and `duckdb-lake` load them into
storage of their own beside them first, once. With CATALOG `duckdb-lake` attaches that lake instead,
which is `sqlite:PATH` or `postgres:…`.

Every line of standard input is a request, {"sql": ..., "values": true or false}; every answer is
one line of standard output: {"seconds": ..., "rows": ...} or {"error": ...}. `rows` are the rows
as lists where values were asked for, else their number. The seconds end when the engine has the
whole result in memory; turning it into JSON does not count.
"""

import datetime
import decimal
import glob
import json
import os
import shutil
import sys
import time


class Place:
    def __init__(self, directory, threads, catalog=""):
        self.directory, self.threads = directory, int(threads)
        self.catalog = catalog
        paths = sorted(glob.glob(os.path.join(directory, "*.parquet")))
        self.files = {os.path.basename(path).removesuffix(".parquet"): path for path in paths}


def connect(place, database=":memory:"):
    import duckdb

    connection = duckdb.connect(database)
    connection.execute(f"SET threads = {place.threads}")
    connection.execute("SET enable_progress_bar = false")
    return connection


def through(connection):
    return lambda sql: connection.execute(sql).to_arrow_table(), lambda table: table


def copy(connection, files):
    for name, path in files.items():
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet('{path}')")


def duckdb(place):
    connection = connect(place)
    for name, path in place.files.items():
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")
    return through(connection)


def duckdb_native(place):
    storage = os.path.join(place.directory, "duckdb-native")
    if not os.path.exists(storage):
        partial = storage + ".partial"
        if os.path.exists(partial):
            os.remove(partial)
        connection = connect(place, partial)
        copy(connection, place.files)
        connection.close()
        os.rename(partial, storage)
    return through(connect(place, storage))


def duckdb_lake(place):
    import duckdb
    import duckdb_extensions

    for extension in ["ducklake", "sqlite_scanner", "postgres_scanner"]:
        duckdb_extensions.import_extension(extension)
    connection = connect(place)
    for extension in ["ducklake", "sqlite_scanner", "postgres_scanner"]:
        connection.execute(f"LOAD {extension}")
    if place.catalog:
        attach = f"ATTACH 'ducklake:{place.catalog}' AS lake"
        try:
            connection.execute(attach)
        except duckdb.InvalidInputException:  # A new one needs to be told where data go.
            connection.execute(f"{attach} (DATA_PATH '{place.directory}/duckdb-data/')")
        connection.execute("USE lake")
        return through(connection)
    storage = os.path.join(place.directory, "duckdb-lake")
    partial = storage + ".partial"
    if not os.path.exists(storage):
        shutil.rmtree(partial, ignore_errors=True)
        os.mkdir(partial)
        attach_lake(connection, partial)
        copy(connection, place.files)
        connection.execute("USE memory")
        connection.execute("DETACH lake")
        os.rename(partial, storage)
    attach_lake(connection, storage)
    return through(connection)


def attach_lake(connection, storage):
    data = f"{storage}/data/"
    connection.execute(
        f"ATTACH 'ducklake:sqlite:{storage}/catalog.sqlite' AS lake "
        f"(DATA_PATH '{data}', OVERRIDE_DATA_PATH true)"
    )
    connection.execute("USE lake")


def polars(place):
    import polars

    frames = {name: polars.scan_parquet(path) for name, path in place.files.items()}
    context = polars.SQLContext(frames=frames, eager=False)
    run = lambda sql: context.execute(sql).collect(engine="streaming")
    return run, lambda frame: frame.to_arrow()


def datafusion(place):
    import datafusion
    import pyarrow

    config = datafusion.SessionConfig().with_target_partitions(place.threads)
    context = datafusion.SessionContext(config)
    for name, path in place.files.items():
        context.register_parquet(name, path)
    # The frame has the columns of an answer without batches.
    def run(sql):
        frame = context.sql(sql)
        return frame.schema(), frame.collect()

    return run, lambda answer: pyarrow.Table.from_batches(answer[1], schema=answer[0])


ENGINES = {
    "duckdb": duckdb,
    "duckdb-native": duckdb_native,
    "duckdb-lake": duckdb_lake,
    "polars": polars,
    "datafusion": datafusion,
}


def plain(value):
    """Numbers that JSON has stay numbers; decimals and dates become text."""
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return value if value is None or isinstance(value, (int, float)) else str(value)


def answer(run, to_arrow, request):
    start = time.perf_counter()
    result = run(request["sql"])
    seconds = time.perf_counter() - start
    table = to_arrow(result)
    if not request.get("values"):
        return {"seconds": seconds, "rows": table.num_rows}
    columns = [[plain(value) for value in column.to_pylist()] for column in table.columns]
    return {"seconds": seconds, "rows": list(zip(*columns))}


def main():
    run, to_arrow = ENGINES[sys.argv[1]](Place(*sys.argv[2:]))
    for line in sys.stdin:
        try:
            reply = answer(run, to_arrow, json.loads(line))
        except BaseException as error:  # Some engines' panics are no Exception.
            if isinstance(error, KeyboardInterrupt):
                raise
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


main()
