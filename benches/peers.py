"""One engine over a directory of Parquet files, asked line by line.

peers.py ENGINE DIRECTORY THREADS

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
import sys
import time


def duckdb(files, threads):
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    connection.execute("SET enable_progress_bar = false")
    for name, path in files.items():
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")
    return lambda sql: connection.execute(sql).to_arrow_table(), lambda table: table


def polars(files, threads):
    import polars

    frames = {name: polars.scan_parquet(path) for name, path in files.items()}
    context = polars.SQLContext(frames=frames, eager=False)
    run = lambda sql: context.execute(sql).collect(engine="streaming")
    return run, lambda frame: frame.to_arrow()


def datafusion(files, threads):
    import datafusion
    import pyarrow

    config = datafusion.SessionConfig().with_target_partitions(threads)
    context = datafusion.SessionContext(config)
    for name, path in files.items():
        context.register_parquet(name, path)
    # The frame has the columns of an answer without batches.
    def run(sql):
        frame = context.sql(sql)
        return frame.schema(), frame.collect()

    return run, lambda answer: pyarrow.Table.from_batches(answer[1], schema=answer[0])


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
    engine, directory, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    paths = glob.glob(os.path.join(directory, "*.parquet"))
    files = {os.path.basename(path).removesuffix(".parquet"): path for path in paths}
    run, to_arrow = {"duckdb": duckdb, "polars": polars, "datafusion": datafusion}[engine](
        files, threads
    )
    for line in sys.stdin:
        try:
            reply = answer(run, to_arrow, json.loads(line))
        except BaseException as error:  # Some engines' panics are no Exception.
            if isinstance(error, KeyboardInterrupt):
                raise
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


main()
