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

-- name: monthly_usage_summary_refresh @postgres
-- The month's sums, anew from its records.
UPDATE monthly_usage_summaries AS s SET
    total_requests = u.requests, unpriced_requests = u.unpriced, total_prompt_tokens = u.prompt_tokens,
    total_completion_tokens = u.completion_tokens, total_tokens = u.tokens, total_cost_usd = u.cost_usd,
    last_request_at = u.latest, updated_at = :now
FROM (
    SELECT
        count(*) AS requests, count(*) - count(cost_usd) AS unpriced,
        coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(completion_tokens), 0) AS completion_tokens,
        coalesce(sum(total_tokens), 0) AS tokens, coalesce(sum(cost_usd), 0) AS cost_usd,
        max(request_timestamp) AS latest
    FROM usage_records
    WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :end
) AS u
WHERE s.api_key_id = :api_key_id AND s.year = :year AND s.month = :month
RETURNING {monthly_usage_summary_columns};

-- name: monthly_usage_summary_refresh @sqlite
-- As above; costs are summed in two whole numbers, which cannot overflow.
UPDATE monthly_usage_summaries AS s SET
    total_requests = u.requests, unpriced_requests = u.unpriced, total_prompt_tokens = u.prompt_tokens,
    total_completion_tokens = u.completion_tokens, total_tokens = u.tokens, cost_microusd = u.cost_microusd,
    cost_rest_picousd = u.cost_rest_picousd, last_request_at = u.latest, updated_at = :now
FROM (
    SELECT
        count(*) AS requests, count(*) - count(cost_picousd) AS unpriced,
        coalesce(sum(prompt_tokens), 0) AS prompt_tokens, coalesce(sum(completion_tokens), 0) AS completion_tokens,
        coalesce(sum(total_tokens), 0) AS tokens, coalesce(sum(cost_picousd / 1000000), 0) AS cost_microusd,
        coalesce(sum(cost_picousd % 1000000), 0) AS cost_rest_picousd, max(request_timestamp) AS latest
    FROM usage_records
    WHERE api_key_id = :api_key_id AND request_timestamp >= :start AND request_timestamp < :end
) AS u
WHERE s.api_key_id = :api_key_id AND s.year = :year AND s.month = :month
RETURNING {monthly_usage_summary_columns};
