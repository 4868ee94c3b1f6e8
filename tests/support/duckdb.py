"""Runs SQL in DuckDB, in a process of its own, on a lake.

Standard input is a JSON object: `lake` (kind and place of the catalog, or null), `options` (of its
ATTACH), `setup` (statements whose answers do not matter) and `queries`. Standard output is a JSON
array with one entry for each query: its rows, as text or null; or `{"error": …}` for the first
statement that fails.
"""

import json
import sys

import duckdb
import duckdb_extensions

task = json.load(sys.stdin)
for extension in ["ducklake", "sqlite_scanner"] + task["extensions"]:
    duckdb_extensions.import_extension(extension)
connection = duckdb.connect(config={"autoinstall_known_extensions": False})
statement = ""
try:
    for statement in task["setup"]:
        connection.execute(statement)
    if task["lake"] is not None:
        statement = "ATTACH"
        connection.execute(f"ATTACH 'ducklake:{task['lake']}' AS lake {task['options']}")
        connection.execute("USE lake.main")
    answers = []
    for statement in task["queries"]:
        if statement.split()[0].upper() in ("SELECT", "FROM", "WITH"):
            text = f"SELECT COLUMNS(*)::VARCHAR FROM ({statement})"
            answers.append(connection.execute(text).fetchall())
        else:
            connection.execute(statement)
            answers.append([])
except duckdb.Error as error:
    answers = {"error": f"{statement}: {error}"}
json.dump(answers, sys.stdout)
