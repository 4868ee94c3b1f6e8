-- A small warehouse of the flights that left New York in the first quarter of 2013.
--
--   gotgan flights.wh -f sql/flights/etl.sql          (from the repository's root; run it again at will)
--
-- Three layers, as in any warehouse: raw keeps what was delivered, core is clean and typed with one
-- row per fact, mart answers questions. The files are described in prepare.py.

CREATE SCHEMA IF NOT EXISTS raw;
CREATE SCHEMA IF NOT EXISTS core;
CREATE SCHEMA IF NOT EXISTS mart;

-- 1. Extract and load: the files as they are, every month by one pattern. 'NA' means missing.
CREATE OR REPLACE TABLE raw.flights_csv AS
SELECT * FROM read_csv('sql/flights/data/flights-*.csv.gz', header => true, nullstr => 'NA');

-- The newest month comes from a service's log, one JSON object a line.
CREATE OR REPLACE TABLE raw.flights_log AS
SELECT * FROM 'sql/flights/data/flights-*.ndjson.gz';

CREATE OR REPLACE TABLE raw.weather AS
SELECT * FROM read_csv('sql/flights/data/weather.csv.gz', header => true, nullstr => 'NA');

-- 2. Transform: dimensions.
CREATE OR REPLACE TABLE core.airline AS
SELECT carrier, name AS airline
FROM 'sql/flights/data/airlines.csv';

CREATE OR REPLACE TABLE core.airport AS
SELECT faa AS airport, name, lat, lon, alt AS altitude_ft, tzone AS time_zone
FROM 'sql/flights/data/airports.csv';

CREATE OR REPLACE TABLE core.plane AS
SELECT tailnum, year AS built, manufacturer, model, engines, seats
FROM read_csv('sql/flights/data/planes.csv', header => true, nullstr => 'NA');

-- 3. Transform: the fact table. Both deliveries have the same columns, so they are united by name.
--    31 January was delivered twice; one row per flight is kept. Times come as numbers (517 is
--    05:17) and become timestamps; a flight that never left has no departure time.
CREATE OR REPLACE TABLE core.flight AS
WITH delivered AS (
    SELECT * FROM raw.flights_csv
    UNION ALL BY NAME
    SELECT * FROM raw.flights_log
),
numbered AS (
    SELECT *,
           row_number() OVER (
               PARTITION BY month, day, carrier, flight, origin, sched_dep_time
               ORDER BY dep_time
           ) AS delivery
    FROM delivered
)
SELECT make_date(CAST(year AS INT), CAST(month AS INT), CAST(day AS INT)) AS flight_date,
       CAST(time_hour AS TIMESTAMP) AS hour_utc,
       CAST(hour AS INT) AS sched_hour,
       carrier,
       CAST(flight AS INT) AS flight,
       tailnum,
       origin,
       dest,
       CAST(dep_delay AS INT) AS dep_delay,
       CAST(arr_delay AS INT) AS arr_delay,
       CAST(air_time AS INT) AS air_time,
       CAST(distance AS INT) AS distance,
       dep_time IS NULL AS cancelled
FROM numbered
WHERE delivery = 1;

-- Weather by airport and hour, in the same clock as the flights.
CREATE OR REPLACE TABLE core.weather AS
SELECT origin,
       CAST(time_hour AS TIMESTAMP) AS hour_utc,
       max(temp) AS temp_f,
       max(wind_speed) AS wind_mph,
       max(precip) AS precip_in,
       min(visib) AS visib_miles
FROM raw.weather
GROUP BY origin, CAST(time_hour AS TIMESTAMP);

-- 4. Marts: what people ask for.
CREATE OR REPLACE TABLE mart.daily AS
SELECT flight_date,
       origin,
       count(*) AS flights,
       count(*) FILTER (WHERE cancelled) AS cancelled,
       round(avg(dep_delay), 2) AS avg_dep_delay,
       count(*) FILTER (WHERE arr_delay > 15) AS late
FROM core.flight
GROUP BY flight_date, origin;

CREATE OR REPLACE VIEW mart.flight_in_weather AS
SELECT f.*, w.temp_f, w.wind_mph, w.precip_in, w.visib_miles
FROM core.flight f
LEFT JOIN core.weather w ON f.origin = w.origin AND f.hour_utc = w.hour_utc;

-- 5. Answers.

-- What was delivered, and what is left once each flight counts once.
SELECT (SELECT count(*) FROM raw.flights_csv) + (SELECT count(*) FROM raw.flights_log) AS delivered,
       count(*) AS flights,
       count(*) FILTER (WHERE cancelled) AS cancelled,
       min(flight_date) AS first_day,
       max(flight_date) AS last_day
FROM core.flight;

-- Which airlines are late? Medians tell more than averages when a few flights wait for hours.
SELECT a.airline,
       count(*) AS flights,
       round(avg(f.arr_delay), 1) AS avg_delay,
       round(100.0 * count(*) FILTER (WHERE f.arr_delay > 15) / count(f.arr_delay), 1) AS late_percent
FROM core.flight f
JOIN core.airline a ON f.carrier = a.carrier
GROUP BY a.airline
HAVING count(*) >= 500
ORDER BY avg_delay DESC;

-- Fly early: delays add up during the day.
SELECT sched_hour,
       count(*) AS flights,
       round(avg(dep_delay), 1) AS avg_dep_delay
FROM core.flight
WHERE NOT cancelled
GROUP BY sched_hour
HAVING count(*) >= 100
ORDER BY sched_hour;

-- What weather costs.
SELECT CASE
           WHEN visib_miles < 2 THEN '1 poor visibility'
           WHEN precip_in > 0 THEN '2 rain or snow'
           WHEN wind_mph >= 20 THEN '3 strong wind'
           ELSE '4 fair'
       END AS weather,
       count(*) AS flights,
       round(avg(dep_delay), 1) AS avg_dep_delay,
       round(100.0 * count(*) FILTER (WHERE cancelled) / count(*), 1) AS cancelled_percent
FROM mart.flight_in_weather
WHERE visib_miles IS NOT NULL
GROUP BY 1
ORDER BY 1;

-- The busiest routes, and the share of each origin's flights they carry.
SELECT origin,
       p.name AS destination,
       count(*) AS flights,
       round(100.0 * count(*) / sum(count(*)) OVER (PARTITION BY origin), 1) AS percent_of_origin,
       round(avg(air_time), 0) AS minutes
FROM core.flight f
JOIN core.airport p ON f.dest = p.airport
GROUP BY origin, p.name
ORDER BY flights DESC, origin, destination
LIMIT 8;
