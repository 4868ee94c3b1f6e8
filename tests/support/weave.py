"""DuckDB beside the program on one warehouse, for as long as standard input is open.

The first line of standard input is a JSON object: `lake` (kind and place of the catalog), `data` (the
directory of its files), `extensions` and `setup` (statements to run first). Each further line asks
for one thing, and each line of standard output is its answer:

- `{"on": "lake" | "mirror", "run": [statement, …]}`: `{"answers": [rows, …]}`, as text or null, or
  `{"error": …, "at": index}` for the first that fails. `mirror` is a database in memory.
- `{"again": true}`: the warehouse is attached anew, so that nothing of it is cached.
- `{"leave": true}`: files that no catalog names are no violation if they are there now.
- `{"wrote": true | false}`: something may have changed; whether DuckDB did it. `{"forgotten": [[schema,
  table], …]}`: the tables of which DuckDB now has forgotten the bounds of values.
- `{"check": true}`: `{"violations": [sentence, …]}`, what is wrong with the catalog and its files.
"""

import json
import pathlib
import sys

import duckdb
import duckdb_extensions

TABLES = """column column_mapping data_file delete_file file_column_stats file_partition_value
files_scheduled_for_deletion inlined_data_tables partition_column partition_info schema
schema_versions snapshot snapshot_changes sort_info table table_column_stats table_stats tag
view""".split()

# The files that the catalog names, with their full paths.
FILES = """
CREATE OR REPLACE TEMP MACRO full_path(directory, path, is_relative) AS
    CASE WHEN is_relative::BOOLEAN THEN directory || path ELSE path END;
CREATE OR REPLACE TABLE file AS
WITH directory AS (
    SELECT t.table_id, any_value(full_path(full_path({root}, s.path, s.path_is_relative),
        t.path, t.path_is_relative)) AS directory
    FROM ducklake_table AS t JOIN ducklake_schema AS s USING (schema_id) GROUP BY t.table_id)
SELECT 'data' AS what, data_file_id AS id, full_path(directory, path, path_is_relative) AS path,
    file_size_bytes, footer_size, record_count, table_id
FROM ducklake_data_file JOIN directory USING (table_id)
UNION ALL SELECT 'delete', delete_file_id, full_path(directory, path, path_is_relative),
    file_size_bytes, footer_size, delete_count, table_id
FROM ducklake_delete_file JOIN directory USING (table_id)
UNION ALL SELECT 'scheduled', data_file_id, full_path({root}, path, path_is_relative),
    NULL, NULL, NULL, NULL
FROM ducklake_files_scheduled_for_deletion
"""

STATISTICS = """
SELECT s.column_id, s.value_count, s.null_count, s.min_value, s.max_value,
    any_value(c.column_type ORDER BY c.begin_snapshot DESC)
FROM ducklake_file_column_stats AS s JOIN ducklake_column AS c USING (table_id, column_id)
WHERE s.data_file_id = {id} GROUP BY ALL
"""

LEAVES = """
WITH leaf AS (
    SELECT row_number() OVER () - 1 AS column_id, field_id FROM parquet_schema({path})
    WHERE coalesce(num_children, 0) = 0)
SELECT field_id, any_value(path_in_schema), sum(num_values - stats_null_count),
    sum(stats_null_count)
FROM leaf JOIN parquet_metadata({path}) USING (column_id) GROUP BY field_id
"""

# Columns whose least and greatest values the catalog keeps for the table.
KEPT = """
SELECT k.table_id, k.column_id, s.schema_name, t.table_name, c.column_name,
    k.contains_null::BOOLEAN, k.min_value, k.max_value, d.data_type
FROM ducklake_table_column_stats AS k
JOIN ducklake_column AS c USING (table_id, column_id)
JOIN ducklake_table AS t USING (table_id) JOIN ducklake_schema AS s USING (schema_id)
JOIN (FROM duckdb_columns() WHERE database_name = 'mirror') AS d ON
    (d.schema_name, d.table_name, d.column_name) = (s.schema_name, t.table_name, c.column_name)
WHERE c.end_snapshot IS NULL AND t.end_snapshot IS NULL AND c.parent_column IS NULL
"""

# Which of them have no bounds, although they may be known.
UNBOUNDED = (
    KEPT + "AND min_value IS NULL AND data_type NOT IN ('BLOB', 'INTERVAL', 'FLOAT', 'DOUBLE')"
)

# Types of which the catalog's text is no value, or has another order.
UNORDERED = ("BLOB", "INTERVAL")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


class Engine:
    """DuckDB with the warehouse as `lake`, and `mirror`."""

    def __init__(self, task):
        self.task = task
        for extension in ["ducklake", "sqlite_scanner"] + task["extensions"]:
            duckdb_extensions.import_extension(extension)
        self.database = duckdb.connect(config={"autoinstall_known_extensions": False})
        for statement in task["setup"]:
            self.database.execute(statement)
        self.database.execute("ATTACH ':memory:' AS mirror")
        self.database.execute("ATTACH ':memory:' AS copied")
        self.mirror = self.connection("mirror.main")
        self.attach()
        self.check = Check(self.connection("copied.main"), task["data"])

    def connection(self, schema):
        connection = self.database.cursor()
        connection.execute(f"USE {schema}")
        return connection

    def attach(self):
        self.database.execute(f"ATTACH {literal('ducklake:' + self.task['lake'])} AS lake")
        self.lake = self.connection("lake.main")

    def again(self):
        self.lake.close()
        self.database.execute("DETACH lake")
        self.attach()
        return {}

    def run(self, on, statements):
        connection = getattr(self, on)
        answers = []
        for index, statement in enumerate(statements):
            try:
                if statement.split()[0].upper() in ("SELECT", "FROM", "WITH"):
                    text = f"SELECT COLUMNS(*)::VARCHAR FROM ({statement})"
                    answers.append(connection.execute(text).fetchall())
                else:
                    connection.execute(statement)
                    answers.append([])
            except duckdb.Error as error:
                return {"error": str(error), "at": index}
        return {"answers": answers}

    def answer(self, request):
        if "run" in request:
            return self.run(request["on"], request["run"])
        if "again" in request:
            return self.again()
        if "leave" in request:
            return self.check.leave()
        if "wrote" in request:
            return self.check.wrote(request["wrote"])
        return {"violations": list(self.check.violations())}


class Check:
    """What must hold of a catalog and its files while nobody writes."""

    def __init__(self, connection, root):
        self.connection = connection
        self.root = root
        # Files never change: each is looked into once.
        self.seen = set()
        self.left = set()
        self.unbounded = set()

    def rows(self, sql):
        return self.connection.execute(sql).fetchall()

    def violations(self):
        for name in TABLES:
            self.copy("ducklake_" + name)
        yield from self.inlined()
        self.rows(FILES.format(root=literal(self.root)))
        for block in INVARIANTS.split("\n\n"):
            lines = block.splitlines()
            sql = [line for line in lines if not line.startswith("--")]
            # As text: Python lacks some of the types.
            text = "SELECT COLUMNS(*)::VARCHAR FROM ({})".format("\n".join(sql))
            for row in self.rows(text)[:5] if sql else []:
                yield f"{lines[0].removeprefix('-- ')}: {row}"
        yield from self.files()
        yield from self.bounds()

    def copy(self, name):
        """Copies a table of the catalog; whether there is one."""
        source = f"__ducklake_metadata_lake.{quoted(name)}"
        try:
            self.rows(f"CREATE OR REPLACE TABLE {quoted(name)} AS FROM {source}")
        except duckdb.CatalogException:
            return False
        return True

    def inlined(self):
        """Copies the rows that the catalog itself keeps, and the deletes."""
        self.rows(
            "CREATE OR REPLACE TABLE inlined_row (table_id BIGINT, row_id BIGINT, "
            "begin_snapshot BIGINT, end_snapshot BIGINT); CREATE OR REPLACE TABLE inlined_delete "
            "(table_id BIGINT, file_id BIGINT, row_id BIGINT, begin_snapshot BIGINT)"
        )
        for table, name in self.rows("SELECT table_id, table_name FROM ducklake_inlined_data_tables"):
            if self.copy(name):
                self.rows(
                    f"INSERT INTO inlined_row SELECT {table}, row_id, begin_snapshot, "
                    f"end_snapshot FROM {quoted(name)}"
                )
            else:
                yield f"the table {name} is missing"
        for (table,) in self.rows("SELECT DISTINCT table_id FROM ducklake_table"):
            name = f"ducklake_inlined_delete_{table}"
            if self.copy(name):
                self.rows(
                    f"INSERT INTO inlined_delete SELECT {table}, file_id, row_id, "
                    f"begin_snapshot FROM {name}"
                )

    def here(self):
        return {str(path) for path in pathlib.Path(self.root).rglob("*") if path.is_file()}

    def leave(self):
        self.left = self.here()
        return {}

    def wrote(self, by_duckdb):
        """DuckDB may forget the bounds of a column that has values; then it takes those of the next
        values for all of them, and does not find the others."""
        for name in "column schema table table_column_stats".split():
            self.copy("ducklake_" + name)
        before, self.unbounded, forgotten = self.unbounded, set(), []
        for table_id, column_id, schema, table, column, *_ in self.rows(UNBOUNDED):
            self.unbounded.add((table_id, column_id))
            if by_duckdb and (table_id, column_id) not in before:
                source = f"mirror.{quoted(schema)}.{quoted(table)}"
                [(values,)] = self.rows(f"SELECT count({quoted(column)}) FROM {source}")
                if values and [schema, table] not in forgotten:
                    forgotten.append([schema, table])
        return {"forgotten": forgotten}

    def files(self):
        """Every file that the catalog names is there and is what it says, and no other is there."""
        here = self.here()
        files = self.rows("FROM file")
        named = {path for _, _, path, *_ in files}
        yield from (f"{path} is missing" for path in sorted(named - here))
        yield from (f"no catalog names {path}" for path in sorted(here - named - self.left))
        for what, id, path, size, footer, count, _ in files:
            if what == "scheduled" or path in self.seen or path not in here:
                continue
            self.seen.add(path)
            data = pathlib.Path(path).read_bytes()
            if size != len(data):
                yield f"{path} has {len(data)} bytes, not {size}"
            if footer is not None and footer != int.from_bytes(data[-8:-4], "little"):
                yield f"the footer of {path} is not {footer} bytes"
            look = self.data_file if what == "data" else self.delete_file
            yield from (f"{path}: {problem}" for problem in look(id, literal(path), count))

    def data_file(self, id, path, count):
        # Names of directories are no columns of it.
        file = f"read_parquet({path}, hive_partitioning = false)"
        [(rows,)] = self.rows(f"SELECT count(*) FROM {file}")
        if rows != count:
            yield f"it has {rows} rows, not {count}"
        leaves = {field: rest for field, *rest in self.rows(LEAVES.format(path=path))}
        columns = dict(self.rows(f"SELECT column_name, column_type FROM (DESCRIBE FROM {file})"))
        for column, values, nulls, least, greatest, _ in self.rows(STATISTICS.format(id=id)):
            if column not in leaves:
                yield f"it has statistics of column {column}, but not the column"
                continue
            name, n_values, n_nulls = leaves[column]
            if values is not None and n_values is not None and (values, nulls) != (n_values, n_nulls):
                yield f"{name} has {n_values} values and {n_nulls} NULLs, not {values} and {nulls}"
            if name in columns:
                yield from self.between(file, name, columns[name], least, greatest)

    def between(self, source, name, type, least, greatest):
        """Whether the values of a column are between the bounds that are known."""
        if type in UNORDERED or (least is None and greatest is None):
            return
        column = quoted(name)
        if type == "JSON":
            column, type = f"{column}::VARCHAR", "VARCHAR"
        number = f"WHERE NOT isnan({column})" if type in ("FLOAT", "DOUBLE") else ""
        [(low, high, is_above, is_below)] = self.rows(
            f"WITH value AS MATERIALIZED (SELECT {column} AS v FROM {source} {number}), "
            "found AS MATERIALIZED (SELECT min(v) AS low, max(v) AS high FROM value) "
            f"SELECT low::VARCHAR, high::VARCHAR, TRY_CAST({literal(least)} AS {type}) <= low, "
            f"TRY_CAST({literal(greatest)} AS {type}) >= high FROM found"
        )
        for bound, value, is_right in [(least, low, is_above), (greatest, high, is_below)]:
            if bound is not None and value is not None and not is_right:
                yield f"{name} of type {type} has {value}, outside of its bound {bound}"

    def delete_file(self, id, path, count):
        columns = self.rows(f"SELECT column_type FROM (DESCRIBE FROM {path})")
        if columns not in ([("VARCHAR",), ("BIGINT",)], [("VARCHAR",), ("BIGINT",), ("BIGINT",)]):
            yield f"a delete file has not the columns {columns}"
        [found] = self.rows(
            f"SELECT count(*), bool_and(coalesce(pos > before, true)), count(pos) FROM (SELECT pos, "
            f"lag(pos) OVER () AS before FROM read_parquet({path}))"
        )
        if found != (count, True, count):
            yield f"positions are not {count} in order: {found}"

    def bounds(self):
        """The bounds of tables hold their values, and NULLs are known."""
        for _, _, schema, table, column, has_null, least, greatest, type in self.rows(KEPT):
            # After a file of NaN alone DuckDB bounds the column by what it inserts next.
            if type in ("FLOAT", "DOUBLE"):
                least, greatest = None, None
            source = f"mirror.{quoted(schema)}.{quoted(table)}"
            where = f"{schema}.{table}"
            for problem in self.between(source, column, type, least, greatest):
                yield f"{where}: {problem}"
            [(nulls,)] = self.rows(f"SELECT count(*) FROM {source} WHERE {quoted(column)} IS NULL")
            if nulls and has_null is False:
                yield f"{where}: {column} has {nulls} NULLs, and its statistics none"


INVARIANTS = pathlib.Path(__file__).with_name("invariants.sql").read_text()

if __name__ == "__main__":
    lines = map(json.loads, sys.stdin)
    engine = Engine(next(lines))
    for request in lines:
        print(json.dumps(engine.answer(request)), flush=True)
