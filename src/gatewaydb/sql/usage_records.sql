-- fragment: usage_record_columns
u.id, u.api_key_id, u.model_id, r.provider_id, u.request_timestamp, u.prompt_tokens, u.completion_tokens, u.total_tokens,
u.cached_tokens, u.reasoning_tokens, u.cost_usd, u.price_version, u.request_id, r.model_name, r.endpoint,
u.response_time_ms, u.status_code, u.error_message, u.request_metadata, u.response_metadata, u.billable,
u.pricing_context

-- fragment: usage_record_insertion @sqlite
INSERT INTO usage_records (
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    reasoning_tokens, response_time_ms, price_version, status_code, cost_picousd, request_id, error_message,
    request_metadata, response_metadata, billable, pricing_context
)
SELECT
    json_extract(value, '$.id'), json_extract(value, '$.api_key_id'), json_extract(value, '$.model_id'),
    json_extract(value, '$.request_timestamp'), json_extract(value, '$.route_id'),
    json_extract(value, '$.prompt_tokens'), json_extract(value, '$.completion_tokens'),
    json_extract(value, '$.total_tokens'), json_extract(value, '$.cached_tokens'),
    json_extract(value, '$.reasoning_tokens'), json_extract(value, '$.response_time_ms'),
    json_extract(value, '$.price_version'), json_extract(value, '$.status_code'),
    json_extract(value, '$.cost_picousd'), json_extract(value, '$.request_id'), json_extract(value, '$.error_message'),
    json_extract(value, '$.request_metadata'), json_extract(value, '$.response_metadata'),
    json_extract(value, '$.billable'), json_extract(value, '$.pricing_context')
FROM json_each(:batch)
WHERE TRUE
ON CONFLICT DO NOTHING

-- name: usage_record_insert @postgres
-- A batch, each record once: what is there already, by id or by the key's request id, is left as it is. In the order of
-- the unique keys, so that two batches never wait for each other crosswise. A trigger adds what was inserted to the
-- summaries, in this same statement.
INSERT INTO usage_records (
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    reasoning_tokens, response_time_ms, price_version, status_code, cost_usd, request_id, error_message,
    request_metadata, response_metadata, billable, pricing_context
)
SELECT
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    reasoning_tokens, response_time_ms, price_version, status_code, cost_picousd * 0.000000000001, request_id,
    error_message, request_metadata::json, response_metadata::json, billable::json, pricing_context::json
FROM json_to_recordset(:batch::json) AS b (
    id uuid, api_key_id uuid, model_id uuid, request_timestamp timestamptz, route_id bigint, prompt_tokens bigint,
    completion_tokens bigint, total_tokens bigint, cached_tokens bigint, reasoning_tokens bigint, response_time_ms integer,
    price_version integer, status_code smallint, cost_picousd numeric, request_id text, error_message text,
    request_metadata text, response_metadata text, billable text, pricing_context text
)
ORDER BY api_key_id, request_id, id
ON CONFLICT DO NOTHING;

-- name: usage_record_insert @sqlite
-- As above; SQLite keeps whole picodollars, and has no recordset of JSON.
{usage_record_insertion};

-- name: usage_record_load @postgres
-- Many records, none of which is there already: else it is an AlreadyExistsError, and `usage_record_insert` sorts them
-- out. The quickest way in; the trigger sums up as it does for an INSERT.
COPY usage_records (
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    reasoning_tokens, response_time_ms, price_version, status_code, cost_usd, request_id, error_message,
    request_metadata, response_metadata, billable, pricing_context
) FROM STDIN;

-- name: usage_record_load @sqlite
-- As above, and what is there already is left out: whole blocks of rows by the second statement, the rest by the third. SQLite
-- has no triggers for whole statements, so what came in is summed up at the end; nobody else writes meanwhile, so that its
-- rowids are the last ones.
INSERT INTO usage_bulk (after_rowid) SELECT coalesce(max(rowid), 0) FROM usage_records;
INSERT INTO usage_records (
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens, cached_tokens,
    reasoning_tokens, response_time_ms, price_version, status_code, cost_picousd, request_id, error_message,
    request_metadata, response_metadata, billable, pricing_context
)
VALUES (
    :id, :api_key_id, :model_id, :request_timestamp, :route_id, :prompt_tokens, :completion_tokens, :total_tokens,
    :cached_tokens, :reasoning_tokens, :response_time_ms, :price_version, :status_code, :cost_picousd, :request_id,
    :error_message, :request_metadata, :response_metadata, :billable, :pricing_context
)
ON CONFLICT DO NOTHING;
{usage_record_insertion};
INSERT INTO usage_additions
SELECT
    substr(request_timestamp, 1, 10), api_key_id, coalesce(route_id, 0), coalesce(status_code / 100, 0),
    count(*), count(*) - count(cost_picousd), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
    sum(cached_tokens), coalesce(sum(cost_picousd / 1000000), 0), coalesce(sum(cost_picousd % 1000000), 0),
    max(request_timestamp)
FROM usage_records
WHERE rowid > (SELECT after_rowid FROM usage_bulk)
GROUP BY 1, 2, 3, 4;
DELETE FROM usage_bulk;

-- name: usage_record_find_by_id [point]
-- One record, by its id.
SELECT {usage_record_columns} FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id WHERE u.id = :id;

-- name: usage_record_list_by_api_key @postgres [report]
-- One page of a key's records from `start`, latest first. `before` and `before_id` are the timestamp and the id of the last
-- row of the page before, or the end of the range and the lowest id. The index knows the hour only: what is asked of the
-- hour and of the timestamp itself is for the index, and for leaving out partitions.
SELECT {usage_record_columns}
FROM (
    SELECT * FROM usage_records
    WHERE api_key_id = :api_key_id
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') <= date_trunc('hour', :before::timestamptz AT TIME ZONE 'UTC')
    AND request_timestamp >= :start AND request_timestamp <= :before
    AND (request_timestamp, id) < (:before, :before_id)
    ORDER BY date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') DESC, request_timestamp DESC, id DESC
    LIMIT :limit OFFSET :offset
) AS u
LEFT JOIN usage_routes AS r ON r.id = u.route_id
ORDER BY u.request_timestamp DESC, u.id DESC;

-- name: usage_record_list_by_api_key @sqlite [report]
-- As above. A second upper bound would keep SQLite from starting there.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.api_key_id = :api_key_id AND u.request_timestamp >= :start
AND (u.request_timestamp, u.id) < (:before, :before_id)
ORDER BY u.request_timestamp DESC, u.id DESC LIMIT :limit OFFSET :offset;

-- name: usage_record_list_by_model @postgres [report]
-- As usage_record_list_by_api_key, for one model.
SELECT {usage_record_columns}
FROM (
    SELECT * FROM usage_records
    WHERE model_id = :model_id
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') <= date_trunc('hour', :before::timestamptz AT TIME ZONE 'UTC')
    AND request_timestamp >= :start AND request_timestamp <= :before
    AND (request_timestamp, id) < (:before, :before_id)
    ORDER BY date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') DESC, request_timestamp DESC, id DESC
    LIMIT :limit OFFSET :offset
) AS u
LEFT JOIN usage_routes AS r ON r.id = u.route_id
ORDER BY u.request_timestamp DESC, u.id DESC;

-- name: usage_record_list_by_model @sqlite [report]
-- As usage_record_list_by_api_key, for one model.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.model_id = :model_id AND u.request_timestamp >= :start AND (u.request_timestamp, u.id) < (:before, :before_id)
ORDER BY u.request_timestamp DESC, u.id DESC LIMIT :limit OFFSET :offset;

-- name: usage_record_stream
-- All records from `start` to before `end`, in no order: one would have to be sorted for.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.request_timestamp >= :start AND u.request_timestamp < :end;

-- name: usage_record_stream_by_api_key @postgres
-- As usage_record_stream, of one key, and of one model if it is not NULL. The index knows the hour only.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.api_key_id = :api_key_id AND (:model_id::uuid IS NULL OR u.model_id = :model_id)
AND date_trunc('hour', u.request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
AND date_trunc('hour', u.request_timestamp AT TIME ZONE 'UTC') <= date_trunc('hour', :end::timestamptz AT TIME ZONE 'UTC')
AND u.request_timestamp >= :start AND u.request_timestamp < :end;

-- name: usage_record_stream_by_api_key @sqlite
-- As above.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.api_key_id = :api_key_id AND (:model_id IS NULL OR u.model_id = :model_id)
AND u.request_timestamp >= :start AND u.request_timestamp < :end;

-- name: usage_record_stream_by_model @postgres
-- As usage_record_stream, of one model.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.model_id = :model_id
AND date_trunc('hour', u.request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
AND date_trunc('hour', u.request_timestamp AT TIME ZONE 'UTC') <= date_trunc('hour', :end::timestamptz AT TIME ZONE 'UTC')
AND u.request_timestamp >= :start AND u.request_timestamp < :end;

-- name: usage_record_stream_by_model @sqlite
-- As above.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.model_id = :model_id AND u.request_timestamp >= :start AND u.request_timestamp < :end;

-- name: usage_record_list_unpriced @postgres
-- The next records without a price from `start` to before `end`, in the order of their ids.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.cost_usd IS NULL AND u.id > :after AND u.request_timestamp >= :start AND u.request_timestamp < :end
ORDER BY u.id LIMIT :limit;

-- name: usage_record_list_unpriced @sqlite
-- As above; SQLite keeps whole picodollars, and its partial index is on them.
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.cost_picousd IS NULL AND u.id > :after AND u.request_timestamp >= :start AND u.request_timestamp < :end
ORDER BY u.id LIMIT :limit;

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
SELECT {usage_record_columns}
FROM usage_records AS u LEFT JOIN usage_routes AS r ON r.id = u.route_id
WHERE u.id > :after AND u.request_timestamp >= :start AND u.request_timestamp < :end
ORDER BY u.id LIMIT :limit;

-- name: usage_record_reprice @postgres
-- New costs for a batch of records, and the route of those that had no model; a trigger moves the summaries in this same
-- statement.
UPDATE usage_records AS u SET
    cost_usd = b.cost_picousd * 0.000000000001, price_version = b.price_version,
    model_id = coalesce(u.model_id, b.model_id),
    route_id = CASE WHEN u.model_id IS NULL THEN b.route_id ELSE u.route_id END
FROM json_to_recordset(:batch::json) AS b (
    id uuid, request_timestamp timestamptz, model_id uuid, route_id bigint, cost_picousd numeric, price_version integer
)
WHERE u.id = b.id AND u.request_timestamp = b.request_timestamp;

-- name: usage_record_reprice @sqlite
-- As above; SQLite keeps whole picodollars, and has no recordset of JSON.
UPDATE usage_records AS u SET
    cost_picousd = json_extract(b.value, '$.cost_picousd'), price_version = json_extract(b.value, '$.price_version'),
    model_id = coalesce(u.model_id, json_extract(b.value, '$.model_id')),
    route_id = CASE WHEN u.model_id IS NULL THEN json_extract(b.value, '$.route_id') ELSE u.route_id END
FROM json_each(:batch) AS b
WHERE u.id = json_extract(b.value, '$.id');

-- name: usage_record_totals_by_api_key @postgres [report]
-- What a key used from `start` to before `end`: the daily summaries of whole days, `first_day` to before `last_day`, and
-- the records before (to `head`) and after (from `tail`).
SELECT
    coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(unpriced), 0)::bigint AS unpriced_requests,
    coalesce(sum(prompt), 0)::bigint AS prompt_tokens, coalesce(sum(completion), 0)::bigint AS completion_tokens,
    coalesce(sum(tokens), 0)::bigint AS total_tokens, coalesce(sum(cost), 0) AS cost_usd
FROM (
    SELECT
        total_requests AS requests, unpriced_requests AS unpriced, total_prompt_tokens AS prompt,
        total_completion_tokens AS completion, total_tokens AS tokens, total_cost_usd AS cost
    FROM daily_usage_summaries
    WHERE api_key_id = :api_key_id AND day >= :first_day AND day < :last_day
    UNION ALL
    SELECT 1, (cost_usd IS NULL)::integer, prompt_tokens, completion_tokens, total_tokens, cost_usd
    FROM usage_records
    WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :head
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') <= date_trunc('hour', :head::timestamptz AT TIME ZONE 'UTC')
    UNION ALL
    SELECT 1, (cost_usd IS NULL)::integer, prompt_tokens, completion_tokens, total_tokens, cost_usd
    FROM usage_records
    WHERE api_key_id = :api_key_id AND request_timestamp >= :tail AND request_timestamp < :end
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :tail::timestamptz AT TIME ZONE 'UTC')
    AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') <= date_trunc('hour', :end::timestamptz AT TIME ZONE 'UTC')
) AS parts;

-- name: usage_record_totals_by_api_key @sqlite [report]
-- As above; a sum of whole picodollars would overflow at 9.2 million dollars, so it is made of two.
SELECT
    requests, unpriced_requests, prompt_tokens, completion_tokens, total_tokens,
    printf('%d.%06d%06d', (micro + pico / 1000000) / 1000000, (micro + pico / 1000000) % 1000000, pico % 1000000)
    AS cost_usd
FROM (
    SELECT
        coalesce(sum(requests), 0) AS requests, coalesce(sum(unpriced), 0) AS unpriced_requests,
        coalesce(sum(prompt), 0) AS prompt_tokens, coalesce(sum(completion), 0) AS completion_tokens,
        coalesce(sum(tokens), 0) AS total_tokens, coalesce(sum(micro), 0) AS micro, coalesce(sum(pico), 0) AS pico
    FROM (
        SELECT
            total_requests AS requests, unpriced_requests AS unpriced, total_prompt_tokens AS prompt,
            total_completion_tokens AS completion, total_tokens AS tokens, cost_microusd AS micro,
            cost_rest_picousd AS pico
        FROM daily_usage_summaries
        WHERE api_key_id = :api_key_id AND day >= :first_day AND day < :last_day
        UNION ALL
        SELECT
            1, cost_picousd IS NULL, prompt_tokens, completion_tokens, total_tokens, cost_picousd / 1000000,
            cost_picousd % 1000000
        FROM usage_records
        WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :head
        UNION ALL
        SELECT
            1, cost_picousd IS NULL, prompt_tokens, completion_tokens, total_tokens, cost_picousd / 1000000,
            cost_picousd % 1000000
        FROM usage_records
        WHERE api_key_id = :api_key_id AND request_timestamp >= :tail AND request_timestamp < :end
    )
);

-- name: usage_record_totals_by_key_and_model @postgres [report]
-- What every key used of every model from `start` to before `end`, dearest first: a report, which reads the daily summaries
-- as usage_record_totals_by_api_key does, and the records of the days that are not whole.
SELECT
    p.api_key_id, r.model_id, r.model_name, sum(requests)::bigint AS requests, sum(unpriced)::bigint AS unpriced_requests,
    sum(prompt)::bigint AS prompt_tokens, sum(completion)::bigint AS completion_tokens,
    sum(tokens)::bigint AS total_tokens, coalesce(sum(cost), 0) AS cost_usd
FROM (
    SELECT
        api_key_id, route_id, total_requests AS requests, unpriced_requests AS unpriced,
        total_prompt_tokens AS prompt, total_completion_tokens AS completion, total_tokens AS tokens,
        total_cost_usd AS cost
    FROM daily_usage_summaries
    WHERE day >= :first_day AND day < :last_day
    UNION ALL
    SELECT
        api_key_id, route_id, 1, (cost_usd IS NULL)::integer, prompt_tokens, completion_tokens, total_tokens, cost_usd
    FROM usage_records
    WHERE request_timestamp >= :start AND request_timestamp < :head
    OR request_timestamp >= :tail AND request_timestamp < :end
) AS p
LEFT JOIN usage_routes AS r ON r.id = p.route_id
GROUP BY p.api_key_id, r.model_id, r.model_name
HAVING sum(requests) > 0
ORDER BY cost_usd DESC, requests DESC;

-- name: usage_record_totals_by_key_and_model @sqlite [report]
-- As above; costs are summed in two whole numbers, as in usage_record_totals_by_api_key.
SELECT
    api_key_id, model_id, model_name, requests, unpriced_requests, prompt_tokens, completion_tokens, total_tokens,
    printf('%d.%06d%06d', (micro + pico / 1000000) / 1000000, (micro + pico / 1000000) % 1000000, pico % 1000000)
    AS cost_usd
FROM (
    SELECT
        p.api_key_id, r.model_id, r.model_name, sum(requests) AS requests, sum(unpriced) AS unpriced_requests,
        sum(prompt) AS prompt_tokens, sum(completion) AS completion_tokens, sum(tokens) AS total_tokens,
        coalesce(sum(micro), 0) AS micro, coalesce(sum(pico), 0) AS pico
    FROM (
        SELECT
            api_key_id, route_id, total_requests AS requests, unpriced_requests AS unpriced,
            total_prompt_tokens AS prompt, total_completion_tokens AS completion, total_tokens AS tokens,
            cost_microusd AS micro, cost_rest_picousd AS pico
        FROM daily_usage_summaries
        WHERE day >= :first_day AND day < :last_day
        UNION ALL
        SELECT
            api_key_id, route_id, 1, cost_picousd IS NULL, prompt_tokens, completion_tokens, total_tokens,
            cost_picousd / 1000000, cost_picousd % 1000000
        FROM usage_records
        WHERE request_timestamp >= :start AND request_timestamp < :head
        OR request_timestamp >= :tail AND request_timestamp < :end
    ) AS p
    LEFT JOIN usage_routes AS r ON r.id = p.route_id
    GROUP BY p.api_key_id, r.model_id, r.model_name
    HAVING sum(requests) > 0
)
ORDER BY micro + pico / 1000000 DESC, requests DESC;
