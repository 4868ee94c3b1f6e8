-- What must hold of the catalog's rows: each query gives what is wrong, and its first line says the
-- rule. Queries are separated by empty lines; `file` and `inlined_*` are made by weave.py.

-- a snapshot and its list of changes come together
SELECT snapshot_id, snapshot_time, changes_made
FROM ducklake_snapshot FULL JOIN ducklake_snapshot_changes USING (snapshot_id)
WHERE snapshot_time IS NULL OR changes_made IS NULL

-- snapshots are in the order of their times, and counters only grow
SELECT * FROM (
    SELECT snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id,
        lag(snapshot_time::TIMESTAMPTZ) OVER w AS before_time,
        lag(schema_version) OVER w AS before_schema,
        lag(next_catalog_id) OVER w AS before_catalog, lag(next_file_id) OVER w AS before_file
    FROM ducklake_snapshot WINDOW w AS (ORDER BY snapshot_id))
WHERE snapshot_time::TIMESTAMPTZ < before_time
    OR schema_version < before_schema
    OR next_catalog_id < before_catalog OR next_file_id < before_file

-- changes are what the grammar allows
SELECT snapshot_id, changes_made FROM ducklake_snapshot_changes
WHERE NOT regexp_full_match(changes_made, '((created_schema:"([^"]|"")+"|created_(table|view):"([^"]|"")+"\."([^"]|"")+"|(dropped_schema|dropped_table|dropped_view|inserted_into_table|deleted_from_table|altered_table|altered_view|inlined_insert|inlined_delete|inline_flush|flushed_inlined|merge_adjacent|rewrite_delete|compacted_table):[0-9]+)(,|$))+')

-- ids of files are below their counter
SELECT max(id), any_value(newest) FROM (
    SELECT data_file_id AS id FROM ducklake_data_file
    UNION ALL SELECT delete_file_id FROM ducklake_delete_file
    UNION ALL SELECT mapping_id FROM ducklake_column_mapping
    UNION ALL SELECT data_file_id FROM ducklake_files_scheduled_for_deletion
), (SELECT max(next_file_id) AS newest FROM ducklake_snapshot) HAVING max(id) >= any_value(newest)

-- ids of schemas, tables, views, partitions and sort orders are below their counter
SELECT max(id), any_value(newest) FROM (
    SELECT schema_id AS id FROM ducklake_schema UNION ALL SELECT table_id FROM ducklake_table
    UNION ALL SELECT view_id FROM ducklake_view
    UNION ALL SELECT partition_id FROM ducklake_partition_info
    UNION ALL SELECT sort_id FROM ducklake_sort_info
), (SELECT max(next_catalog_id) AS newest FROM ducklake_snapshot) HAVING max(id) >= any_value(newest)

-- no id belongs to two things
SELECT id, list(what) FROM (
    SELECT DISTINCT 'schema' AS what, schema_id AS id FROM ducklake_schema
    UNION ALL SELECT DISTINCT 'table', table_id FROM ducklake_table
    UNION ALL SELECT DISTINCT 'view', view_id FROM ducklake_view
    UNION ALL SELECT DISTINCT 'partition', partition_id FROM ducklake_partition_info
    UNION ALL SELECT DISTINCT 'sort', sort_id FROM ducklake_sort_info
) GROUP BY id HAVING count(*) > 1

-- no file id belongs to two files
SELECT id FROM (
    SELECT data_file_id AS id FROM ducklake_data_file
    UNION ALL SELECT delete_file_id FROM ducklake_delete_file
    UNION ALL SELECT data_file_id FROM ducklake_files_scheduled_for_deletion
) GROUP BY id HAVING count(*) > 1

-- what begins, begins before it ends, and in a snapshot that there was
SELECT * FROM (
    SELECT 'schema' AS what, schema_id AS id, begin_snapshot, end_snapshot FROM ducklake_schema
    UNION ALL SELECT 'table', table_id, begin_snapshot, end_snapshot FROM ducklake_table
    UNION ALL SELECT 'view', view_id, begin_snapshot, end_snapshot FROM ducklake_view
    UNION ALL SELECT 'column of', table_id, begin_snapshot, end_snapshot FROM ducklake_column
    UNION ALL SELECT 'file', data_file_id, begin_snapshot, end_snapshot FROM ducklake_data_file
    UNION ALL SELECT 'deletes', delete_file_id, begin_snapshot, end_snapshot FROM ducklake_delete_file
    UNION ALL SELECT 'partition', partition_id, begin_snapshot, end_snapshot FROM ducklake_partition_info
    UNION ALL SELECT 'sort', sort_id, begin_snapshot, end_snapshot FROM ducklake_sort_info
    UNION ALL SELECT 'tag of', object_id, begin_snapshot, end_snapshot FROM ducklake_tag
    UNION ALL SELECT 'row of', table_id, begin_snapshot, end_snapshot FROM inlined_row
), (SELECT max(snapshot_id) AS newest FROM ducklake_snapshot)
WHERE begin_snapshot IS NULL OR begin_snapshot > newest OR end_snapshot > newest
    OR end_snapshot <= begin_snapshot

-- what is in a schema or table ends with it; but DuckDB leaves the files of a transaction that changes
-- a table and drops it
SELECT 'table' AS what, table_id, table_name FROM ducklake_table WHERE end_snapshot IS NULL
    AND schema_id NOT IN (SELECT schema_id FROM ducklake_schema WHERE end_snapshot IS NULL)
UNION ALL SELECT 'view', view_id, view_name FROM ducklake_view WHERE end_snapshot IS NULL
    AND schema_id NOT IN (SELECT schema_id FROM ducklake_schema WHERE end_snapshot IS NULL)
UNION ALL SELECT 'column', table_id, column_name FROM ducklake_column WHERE end_snapshot IS NULL
    AND table_id NOT IN (SELECT table_id FROM ducklake_table WHERE end_snapshot IS NULL)
UNION ALL SELECT 'file', table_id, path FROM ducklake_data_file AS f WHERE end_snapshot IS NULL
    AND NOT EXISTS (FROM ducklake_table AS t WHERE t.table_id = f.table_id
        AND (t.end_snapshot IS NULL OR t.end_snapshot = f.begin_snapshot))
UNION ALL SELECT 'deletes', table_id, path FROM ducklake_delete_file AS d WHERE end_snapshot IS NULL
    AND NOT EXISTS (FROM ducklake_table AS t WHERE t.table_id = d.table_id
        AND (t.end_snapshot IS NULL OR t.end_snapshot = coalesce(d.partial_max, d.begin_snapshot)))
UNION ALL SELECT 'partition', table_id, partition_id::VARCHAR FROM ducklake_partition_info
    WHERE end_snapshot IS NULL
    AND table_id NOT IN (SELECT table_id FROM ducklake_table WHERE end_snapshot IS NULL)
UNION ALL SELECT 'sort', table_id, sort_id::VARCHAR FROM ducklake_sort_info WHERE end_snapshot IS NULL
    AND table_id NOT IN (SELECT table_id FROM ducklake_table WHERE end_snapshot IS NULL)

-- names are unique whatever their case
SELECT schema_id, lower(name), count(*) FROM (
    SELECT schema_id, table_name AS name FROM ducklake_table WHERE end_snapshot IS NULL
    UNION ALL SELECT schema_id, view_name FROM ducklake_view WHERE end_snapshot IS NULL
    UNION ALL SELECT -1, schema_name FROM ducklake_schema WHERE end_snapshot IS NULL
) GROUP BY ALL HAVING count(*) > 1

-- columns of a table have different names and ids
SELECT table_id, parent_column, lower(column_name), count(*) FROM ducklake_column
WHERE end_snapshot IS NULL GROUP BY ALL HAVING count(*) > 1
UNION ALL SELECT table_id, column_id, NULL, count(*) FROM ducklake_column
WHERE end_snapshot IS NULL GROUP BY ALL HAVING count(*) > 1

-- a table has columns
SELECT table_id, table_name FROM ducklake_table AS t WHERE end_snapshot IS NULL AND NOT EXISTS
    (FROM ducklake_column AS c WHERE c.table_id = t.table_id AND c.end_snapshot IS NULL)

-- a column's order is its id, and its parent is another visible column
SELECT table_id, column_id, column_order, parent_column FROM ducklake_column AS c
WHERE column_order <> column_id OR (end_snapshot IS NULL AND parent_column IS NOT NULL AND NOT EXISTS
    (FROM ducklake_column AS p WHERE p.table_id = c.table_id AND p.column_id = c.parent_column
     AND p.end_snapshot IS NULL AND p.column_id < c.column_id))

-- versions of one thing do not overlap
SELECT table_id, column_id, begin_snapshot, end_snapshot, next FROM (
    SELECT *, lead(begin_snapshot) OVER (PARTITION BY table_id, column_id ORDER BY begin_snapshot) AS next
    FROM ducklake_column) WHERE end_snapshot > next OR (end_snapshot IS NULL AND next IS NOT NULL)

-- paths of directories end with a slash
SELECT schema_name, path FROM ducklake_schema WHERE NOT suffix(path, '/')
UNION ALL SELECT table_name, path FROM ducklake_table WHERE NOT suffix(path, '/')

-- no path is that of two files
SELECT path, list(what), list(id) FROM file GROUP BY path HAVING count(*) > 1

-- a data file has one delete file at most
SELECT data_file_id, list(delete_file_id) FROM ducklake_delete_file WHERE end_snapshot IS NULL
GROUP BY data_file_id HAVING count(*) > 1

-- deletes belong to a data file, begin with it or later, and are not more than its rows
SELECT d.delete_file_id, d.data_file_id, d.delete_count, f.record_count
FROM ducklake_delete_file AS d LEFT JOIN ducklake_data_file AS f USING (data_file_id, table_id)
WHERE f.data_file_id IS NULL OR d.begin_snapshot < f.begin_snapshot
    OR d.delete_count NOT BETWEEN 1 AND f.record_count

-- deletes that the catalog keeps are of rows that there are, once
SELECT d.file_id, d.row_id, count(*) FROM inlined_delete AS d
LEFT JOIN ducklake_data_file AS f ON f.data_file_id = d.file_id AND f.table_id = d.table_id
GROUP BY ALL HAVING count(*) > 1 OR bool_or(f.data_file_id IS NOT NULL AND d.row_id NOT BETWEEN 0 AND f.record_count - 1)

-- a row has one visible version
SELECT table_id, row_id, count(*) FROM inlined_row WHERE end_snapshot IS NULL
GROUP BY ALL HAVING count(*) > 1

-- a data file begins with its table or later, has rows, and ends within its time
SELECT f.data_file_id, f.begin_snapshot, f.partial_max, f.record_count, f.file_size_bytes
FROM ducklake_data_file AS f, (SELECT max(snapshot_id) AS newest FROM ducklake_snapshot)
WHERE record_count < 1 OR file_size_bytes < 12 OR file_format <> 'parquet' OR file_order IS NOT NULL
    OR partial_max < begin_snapshot OR partial_max > newest
    OR begin_snapshot < (SELECT min(t.begin_snapshot) FROM ducklake_table AS t WHERE t.table_id = f.table_id)

-- row ids are given out once: files' ranges do not overlap, and the next is above them
SELECT f.data_file_id, f.row_id_start, f.record_count, s.next_row_id FROM ducklake_data_file AS f
LEFT JOIN ducklake_table_stats AS s USING (table_id)
WHERE s.table_id IS NULL
    OR (f.partial_max IS NULL AND f.row_id_start + f.record_count > s.next_row_id)

-- rows that the catalog keeps have ids below the next, too
SELECT r.table_id, r.row_id, s.next_row_id FROM inlined_row AS r
LEFT JOIN ducklake_table_stats AS s USING (table_id)
WHERE s.table_id IS NULL OR (r.row_id >= s.next_row_id AND r.row_id < 1000000000000000000)

-- a table has one row of statistics at most, and counts no fewer rows than it has
SELECT s.table_id, s.record_count, any_value(live.n), count(*) FROM ducklake_table_stats AS s LEFT JOIN (
    SELECT table_id, sum(n) AS n FROM (
        SELECT table_id, record_count AS n FROM ducklake_data_file WHERE end_snapshot IS NULL
        UNION ALL SELECT d.table_id, -d.delete_count FROM ducklake_delete_file AS d
        JOIN ducklake_data_file AS f USING (data_file_id)
        WHERE d.end_snapshot IS NULL AND f.end_snapshot IS NULL
        UNION ALL SELECT table_id, 1 FROM inlined_row WHERE end_snapshot IS NULL
    ) GROUP BY table_id) AS live USING (table_id)
GROUP BY ALL HAVING count(*) > 1 OR s.record_count < any_value(live.n)

-- a column has one row of statistics for its table, and one for a file
SELECT table_id, column_id, count(*) FROM ducklake_table_column_stats GROUP BY ALL HAVING count(*) > 1
UNION ALL SELECT data_file_id, column_id, count(*) FROM ducklake_file_column_stats
GROUP BY ALL HAVING count(*) > 1

-- statistics are of files that there are, and count each row
SELECT s.data_file_id, s.column_id, s.value_count, s.null_count, f.record_count
FROM ducklake_file_column_stats AS s LEFT JOIN ducklake_data_file AS f USING (data_file_id, table_id)
WHERE f.data_file_id IS NULL OR (s.value_count + s.null_count <> f.record_count AND EXISTS
    (FROM ducklake_column AS c WHERE c.table_id = s.table_id AND c.column_id = s.column_id
     AND c.parent_column IS NULL))

-- each state of a table's columns has its schema version
SELECT DISTINCT c.table_id, c.begin_snapshot FROM ducklake_column AS c
ANTI JOIN ducklake_schema_versions AS v USING (table_id, begin_snapshot)

-- a schema version is that of its snapshot
SELECT v.* FROM ducklake_schema_versions AS v
JOIN ducklake_snapshot AS s ON s.snapshot_id = v.begin_snapshot
WHERE v.schema_version <> s.schema_version

-- a view has text, and its column names are not NULL
SELECT view_id, view_name FROM ducklake_view WHERE column_aliases IS NULL OR sql IS NULL

-- a file of a partitioned table has a value for each key
SELECT f.data_file_id, c.partition_key_index FROM ducklake_data_file AS f
JOIN ducklake_partition_column AS c USING (partition_id, table_id)
ANTI JOIN ducklake_file_partition_value AS v
    ON v.data_file_id = f.data_file_id AND v.partition_key_index = c.partition_key_index
