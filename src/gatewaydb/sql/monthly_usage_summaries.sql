-- fragment: monthly_usage_summary_columns
api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens, total_tokens,
total_cost_usd, last_request_at, updated_at

-- name: monthly_usage_summary_find [point]
-- One month of one key.
SELECT {monthly_usage_summary_columns} FROM monthly_usage_summaries
WHERE api_key_id = :api_key_id AND year = :year AND month = :month;

-- name: monthly_usage_summary_list [report]
-- The months of one key, latest first.
SELECT {monthly_usage_summary_columns} FROM monthly_usage_summaries
WHERE api_key_id = :api_key_id ORDER BY year DESC, month DESC LIMIT :limit OFFSET :offset;

-- name: monthly_usage_summary_lock @postgres
-- Makes the month's row or locks it. Writers of usage wait for it, so that what is summed next is what the row will say.
INSERT INTO monthly_usage_summaries AS s (
    api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
    total_tokens, total_cost_usd, last_request_at, updated_at
) VALUES (:api_key_id, :year, :month, 0, 0, 0, 0, 0, 0, NULL, :now)
ON CONFLICT (api_key_id, year, month) DO UPDATE SET updated_at = excluded.updated_at;

-- name: monthly_usage_summary_lock @sqlite
-- As above; a write transaction of SQLite is alone already.
INSERT INTO monthly_usage_summaries (
    api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
    total_tokens, cost_microusd, cost_rest_picousd, last_request_at, updated_at
) VALUES (:api_key_id, :year, :month, 0, 0, 0, 0, 0, 0, 0, NULL, :now)
ON CONFLICT (api_key_id, year, month) DO NOTHING;

-- name: monthly_usage_summary_hold @postgres
-- Keeps records from being pruned until the transaction ends: pruning locks the table. It comes first, so that nobody
-- waits here who holds a summary.
LOCK TABLE ONLY usage_records IN ACCESS SHARE MODE;

-- name: monthly_usage_summary_hold @sqlite
-- As above; a write transaction of SQLite is alone already.
SELECT 1;

-- name: daily_usage_summary_clear
-- Removes a key's daily summaries from `first_day` to before `last_day`, for the next statement to make them anew. Those of
-- pruned months stay: they are all that is left.
DELETE FROM daily_usage_summaries
WHERE api_key_id = :api_key_id AND day >= :first_day AND day < :last_day
AND NOT EXISTS (SELECT 1 FROM usage_retention WHERE pruned_before > :start);

-- name: daily_usage_summary_renew @postgres
-- Sums a key's records from `start` to before `end` by the day, unless they were pruned. All writers of a key's days hold
-- its month, so that they wait where it is locked.
INSERT INTO daily_usage_summaries (
    day, api_key_id, route_id, status_class, total_requests, unpriced_requests, total_prompt_tokens,
    total_completion_tokens, total_tokens, total_cached_tokens, total_cost_usd, last_request_at
)
SELECT
    (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0), coalesce(status_code / 100, 0),
    count(*), count(*) - count(cost_usd), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
    sum(cached_tokens), coalesce(sum(cost_usd), 0), max(request_timestamp)
FROM usage_records
WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :end
AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') >= date_trunc('hour', :start::timestamptz AT TIME ZONE 'UTC')
AND date_trunc('hour', request_timestamp AT TIME ZONE 'UTC') < date_trunc('hour', :end::timestamptz AT TIME ZONE 'UTC')
AND NOT EXISTS (SELECT FROM usage_retention WHERE pruned_before > :start)
GROUP BY 1, 2, 3, 4;

-- name: daily_usage_summary_renew @sqlite
-- As above; costs are summed in two whole numbers, which cannot overflow.
INSERT INTO daily_usage_summaries (
    day, api_key_id, route_id, status_class, total_requests, unpriced_requests, total_prompt_tokens,
    total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd, last_request_at
)
SELECT
    substr(request_timestamp, 1, 10), api_key_id, coalesce(route_id, 0), coalesce(status_code / 100, 0),
    count(*), count(*) - count(cost_picousd), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
    sum(cached_tokens), coalesce(sum(cost_picousd / 1000000), 0), coalesce(sum(cost_picousd % 1000000), 0),
    max(request_timestamp)
FROM usage_records
WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :end
AND NOT EXISTS (SELECT 1 FROM usage_retention WHERE pruned_before > :start)
GROUP BY 1, 2, 3, 4;

-- name: monthly_usage_summary_refresh @postgres
-- The month's sums, anew from its days.
UPDATE monthly_usage_summaries AS s SET
    total_requests = d.requests, unpriced_requests = d.unpriced, total_prompt_tokens = d.prompt_tokens,
    total_completion_tokens = d.completion_tokens, total_tokens = d.tokens, total_cost_usd = d.cost_usd,
    last_request_at = d.latest, updated_at = :now
FROM (
    SELECT
        coalesce(sum(total_requests), 0) AS requests, coalesce(sum(unpriced_requests), 0) AS unpriced,
        coalesce(sum(total_prompt_tokens), 0) AS prompt_tokens,
        coalesce(sum(total_completion_tokens), 0) AS completion_tokens, coalesce(sum(total_tokens), 0) AS tokens,
        coalesce(sum(total_cost_usd), 0) AS cost_usd, max(last_request_at) AS latest
    FROM daily_usage_summaries
    WHERE api_key_id = :api_key_id AND day >= :first_day AND day < :last_day
) AS d
WHERE s.api_key_id = :api_key_id AND s.year = :year AND s.month = :month
RETURNING {monthly_usage_summary_columns};

-- name: monthly_usage_summary_refresh @sqlite
-- As above; costs are summed in two whole numbers.
UPDATE monthly_usage_summaries AS s SET
    total_requests = d.requests, unpriced_requests = d.unpriced, total_prompt_tokens = d.prompt_tokens,
    total_completion_tokens = d.completion_tokens, total_tokens = d.tokens, cost_microusd = d.cost_microusd,
    cost_rest_picousd = d.cost_rest_picousd, last_request_at = d.latest, updated_at = :now
FROM (
    SELECT
        coalesce(sum(total_requests), 0) AS requests, coalesce(sum(unpriced_requests), 0) AS unpriced,
        coalesce(sum(total_prompt_tokens), 0) AS prompt_tokens,
        coalesce(sum(total_completion_tokens), 0) AS completion_tokens, coalesce(sum(total_tokens), 0) AS tokens,
        coalesce(sum(cost_microusd), 0) AS cost_microusd, coalesce(sum(cost_rest_picousd), 0) AS cost_rest_picousd,
        max(last_request_at) AS latest
    FROM daily_usage_summaries
    WHERE api_key_id = :api_key_id AND day >= :first_day AND day < :last_day
) AS d
WHERE s.api_key_id = :api_key_id AND s.year = :year AND s.month = :month
RETURNING {monthly_usage_summary_columns};
