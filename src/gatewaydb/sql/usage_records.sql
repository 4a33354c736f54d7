-- fragment: usage_record_columns
id, api_key_id, model_id, provider_id, request_timestamp, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
reasoning_tokens, cost_usd, price_version, request_id, model_name, endpoint, response_time_ms, status_code,
error_message, request_metadata, response_metadata, billable, pricing_context

-- name: usage_record_insert @postgres
-- A batch, each record once: what is there already, by id or by the key's request id, is left as it is. In the order of
-- the unique keys, so that two batches never wait for each other crosswise. A trigger adds what was inserted to the
-- monthly summaries, in this same statement.
INSERT INTO usage_records ({usage_record_columns})
SELECT
    id, api_key_id, model_id, provider_id, request_timestamp, prompt_tokens, completion_tokens, total_tokens,
    cached_tokens, reasoning_tokens, cost_picousd * 0.000000000001, price_version, request_id, model_name, endpoint,
    response_time_ms, status_code, error_message, request_metadata::json, response_metadata::json, billable::json,
    pricing_context::json
FROM json_to_recordset(:batch::json) AS b (
    id uuid, api_key_id uuid, model_id uuid, provider_id uuid, request_timestamp timestamptz, prompt_tokens bigint,
    completion_tokens bigint, total_tokens bigint, cached_tokens bigint, reasoning_tokens bigint, cost_picousd numeric,
    price_version integer, request_id text, model_name text, endpoint text, response_time_ms integer,
    status_code smallint, error_message text, request_metadata text, response_metadata text, billable text,
    pricing_context text
)
ORDER BY api_key_id, request_id, id
ON CONFLICT DO NOTHING;

-- name: usage_record_insert @sqlite
-- As above; SQLite keeps whole picodollars, and has no recordset of JSON.
INSERT INTO usage_records (
    id, api_key_id, model_id, provider_id, request_timestamp, prompt_tokens, completion_tokens, total_tokens,
    cached_tokens, reasoning_tokens, cost_picousd, price_version, request_id, model_name, endpoint, response_time_ms,
    status_code, error_message, request_metadata, response_metadata, billable, pricing_context
)
SELECT
    json_extract(value, '$.id'), json_extract(value, '$.api_key_id'), json_extract(value, '$.model_id'),
    json_extract(value, '$.provider_id'), json_extract(value, '$.request_timestamp'),
    json_extract(value, '$.prompt_tokens'), json_extract(value, '$.completion_tokens'),
    json_extract(value, '$.total_tokens'), json_extract(value, '$.cached_tokens'),
    json_extract(value, '$.reasoning_tokens'), json_extract(value, '$.cost_picousd'),
    json_extract(value, '$.price_version'), json_extract(value, '$.request_id'), json_extract(value, '$.model_name'),
    json_extract(value, '$.endpoint'), json_extract(value, '$.response_time_ms'),
    json_extract(value, '$.status_code'), json_extract(value, '$.error_message'),
    json_extract(value, '$.request_metadata'), json_extract(value, '$.response_metadata'),
    json_extract(value, '$.billable'), json_extract(value, '$.pricing_context')
FROM json_each(:batch)
WHERE TRUE
ON CONFLICT DO NOTHING;

-- name: usage_record_find_by_id [point]
-- One record, by its id.
SELECT {usage_record_columns} FROM usage_records WHERE id = :id;

-- name: usage_record_list_by_api_key [report]
-- One page of a key's records from `start`, latest first. `before` and `before_id` are the timestamp and the id of the last
-- row of the page before, or the end of the range and the lowest id. A second upper bound would keep SQLite from starting
-- there.
SELECT {usage_record_columns} FROM usage_records
WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND (request_timestamp, id) < (:before, :before_id)
ORDER BY request_timestamp DESC, id DESC LIMIT :limit OFFSET :offset;

-- name: usage_record_list_by_model [report]
-- As usage_record_list_by_api_key, for one model.
SELECT {usage_record_columns} FROM usage_records
WHERE model_id = :model_id AND request_timestamp >= :start AND (request_timestamp, id) < (:before, :before_id)
ORDER BY request_timestamp DESC, id DESC LIMIT :limit OFFSET :offset;

-- name: usage_record_list_unpriced @postgres
-- The next records without a price from `start` to before `end`, in the order of their ids.
SELECT {usage_record_columns} FROM usage_records
WHERE cost_usd IS NULL AND id > :after AND request_timestamp >= :start AND request_timestamp < :end
ORDER BY id LIMIT :limit;

-- name: usage_record_list_unpriced @sqlite
-- As above; SQLite keeps whole picodollars, and its partial index is on them.
SELECT {usage_record_columns} FROM usage_records
WHERE cost_picousd IS NULL AND id > :after AND request_timestamp >= :start AND request_timestamp < :end
ORDER BY id LIMIT :limit;

-- name: usage_record_count_unpriced @postgres
-- How many records without a price there are from `start` to before `end`.
SELECT count(*) AS total FROM usage_records
WHERE cost_usd IS NULL AND request_timestamp >= :start AND request_timestamp < :end;

-- name: usage_record_count_unpriced @sqlite
-- As above; SQLite keeps whole picodollars, and its partial index is on them.
SELECT count(*) AS total FROM usage_records
WHERE cost_picousd IS NULL AND request_timestamp >= :start AND request_timestamp < :end;

-- name: usage_record_count_range
-- How many records there are from `start` to before `end`: it reads all of them.
SELECT count(*) AS total FROM usage_records WHERE request_timestamp >= :start AND request_timestamp < :end;

-- name: usage_record_list_range
-- The next records from `start` to before `end`, priced or not, in the order of their ids: it reads all in between.
SELECT {usage_record_columns} FROM usage_records
WHERE id > :after AND request_timestamp >= :start AND request_timestamp < :end
ORDER BY id LIMIT :limit;

-- name: usage_record_reprice @postgres
-- New costs for a batch of records; a trigger moves the monthly summaries in this same statement.
UPDATE usage_records AS u SET
    cost_usd = b.cost_picousd * 0.000000000001, price_version = b.price_version,
    model_id = coalesce(u.model_id, b.model_id)
FROM json_to_recordset(:batch::json) AS b (id uuid, model_id uuid, cost_picousd numeric, price_version integer)
WHERE u.id = b.id;

-- name: usage_record_reprice @sqlite
-- As above; SQLite keeps whole picodollars, and has no recordset of JSON.
UPDATE usage_records SET
    cost_picousd = json_extract(b.value, '$.cost_picousd'), price_version = json_extract(b.value, '$.price_version'),
    model_id = coalesce(model_id, json_extract(b.value, '$.model_id'))
FROM json_each(:batch) AS b
WHERE usage_records.id = json_extract(b.value, '$.id');

-- name: usage_record_totals_by_api_key @postgres [report]
-- What a key used from `start` to before `end`.
SELECT
    count(*) AS requests, count(*) - count(cost_usd) AS unpriced_requests,
    coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    coalesce(sum(total_tokens), 0)::bigint AS total_tokens, coalesce(sum(cost_usd), 0) AS cost_usd
FROM usage_records
WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :end;

-- name: usage_record_totals_by_api_key @sqlite [report]
-- As above; costs are summed in two whole numbers, which cannot overflow, and put together as exact decimal text.
SELECT
    requests, unpriced_requests, prompt_tokens, completion_tokens, total_tokens,
    printf('%d.%06d%06d', (micro + pico / 1000000) / 1000000, (micro + pico / 1000000) % 1000000, pico % 1000000)
    AS cost_usd
FROM (
    SELECT
        count(*) AS requests, count(*) - count(cost_picousd) AS unpriced_requests,
        coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(completion_tokens), 0) AS completion_tokens,
        coalesce(sum(total_tokens), 0) AS total_tokens, coalesce(sum(cost_picousd / 1000000), 0) AS micro,
        coalesce(sum(cost_picousd % 1000000), 0) AS pico
    FROM usage_records
    WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :end
);

-- name: usage_record_totals_by_key_and_model @postgres [report]
-- What every key used of every model from `start` to before `end`, dearest first: a report, which reads the whole range.
SELECT
    api_key_id, model_id, model_name, count(*) AS requests, count(*) - count(cost_usd) AS unpriced_requests,
    sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens,
    sum(total_tokens)::bigint AS total_tokens, coalesce(sum(cost_usd), 0) AS cost_usd
FROM usage_records
WHERE request_timestamp >= :start AND request_timestamp < :end
GROUP BY api_key_id, model_id, model_name
ORDER BY cost_usd DESC, requests DESC;

-- name: usage_record_totals_by_key_and_model @sqlite [report]
-- As above; costs are summed in two whole numbers, as in usage_record_totals_by_api_key.
SELECT
    api_key_id, model_id, model_name, requests, unpriced_requests, prompt_tokens, completion_tokens, total_tokens,
    printf('%d.%06d%06d', (micro + pico / 1000000) / 1000000, (micro + pico / 1000000) % 1000000, pico % 1000000)
    AS cost_usd
FROM (
    SELECT
        api_key_id, model_id, model_name, count(*) AS requests, count(*) - count(cost_picousd) AS unpriced_requests,
        sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
        sum(total_tokens) AS total_tokens, coalesce(sum(cost_picousd / 1000000), 0) AS micro,
        coalesce(sum(cost_picousd % 1000000), 0) AS pico
    FROM usage_records
    WHERE request_timestamp >= :start AND request_timestamp < :end
    GROUP BY api_key_id, model_id, model_name
)
ORDER BY micro + pico / 1000000 DESC, requests DESC;
