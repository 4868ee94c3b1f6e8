"""The tables of TPC-DS as Parquet files, and its queries as text.

generate.py DIRECTORY SCALE
"""

import sys

import duckdb
import duckdb_extensions

directory, scale = sys.argv[1], float(sys.argv[2])
duckdb_extensions.import_extension("tpcds")
connection = duckdb.connect()
connection.execute("LOAD tpcds")
connection.execute(f"CALL dsdgen(sf = {scale})")
for (name,) in connection.execute("SHOW TABLES").fetchall():
    connection.execute(f"COPY {name} TO '{directory}/{name}.parquet' (FORMAT parquet)")
for number, query in connection.execute("FROM tpcds_queries()").fetchall():
    with open(f"{directory}/q{number:02}.sql", "w") as file:
        file.write(query)
