-- fragment: usage_sums @postgres
sum(total_requests)::bigint AS requests, sum(unpriced_requests)::bigint AS unpriced_requests,
sum(client_errors)::bigint AS client_errors, sum(server_errors)::bigint AS server_errors,
sum(total_prompt_tokens)::bigint AS prompt_tokens, sum(total_completion_tokens)::bigint AS completion_tokens,
sum(total_tokens)::bigint AS total_tokens, sum(total_cached_tokens)::bigint AS cached_tokens,
sum(total_cost_usd) AS cost_usd, max(last_request_at) AS last_request_at

-- fragment: usage_sums @sqlite
sum(total_requests) AS requests, sum(unpriced_requests) AS unpriced_requests, sum(client_errors) AS client_errors,
sum(server_errors) AS server_errors, sum(total_prompt_tokens) AS prompt_tokens,
sum(total_completion_tokens) AS completion_tokens, sum(total_tokens) AS total_tokens,
sum(total_cached_tokens) AS cached_tokens,
printf(
    '%d.%06d%06d',
    (sum(cost_microusd) + sum(cost_rest_picousd) / 1000000) / 1000000,
    (sum(cost_microusd) + sum(cost_rest_picousd) / 1000000) % 1000000,
    sum(cost_rest_picousd) % 1000000
) AS cost_usd,
max(last_request_at) AS last_request_at

-- fragment: weeks_end @postgres
greatest(:first_week, date_trunc('week', least(
    :end, coalesce((SELECT settled_before FROM usage_settlement), :first_week),
    (SELECT min(day) FROM usage_unsettled_days WHERE day >= :first_week)
)::timestamp)::date)

-- fragment: weeks_end @sqlite
max(:first_week, date(min(
    :end, coalesce((SELECT settled_before FROM usage_settlement), :first_week),
    coalesce((SELECT min(day) FROM usage_unsettled_days WHERE day >= :first_week), :end)
), 'weekday 0', '-6 days'))

-- fragment: usage_by_key @postgres
(
    SELECT * FROM settled_usage_by_key
    WHERE (day >= :start AND day < :first_week OR day >= {weeks_end} AND day < :end)
    AND day <> ALL (ARRAY(SELECT day FROM usage_unsettled_days))
    UNION ALL
    SELECT * FROM settled_weeks_by_key WHERE week >= :first_week AND week < {weeks_end}
    UNION ALL
    SELECT
        day, api_key_id, total_requests, unpriced_requests, client_errors, server_errors, total_prompt_tokens,
        total_completion_tokens, total_tokens, total_cached_tokens, total_cost_usd, last_request_at
    FROM daily_usage
    WHERE day >= greatest(:start, (SELECT settled_before FROM usage_settlement)) AND day < :end
    UNION ALL
    SELECT
        d.day, d.api_key_id, d.total_requests, d.unpriced_requests, d.client_errors, d.server_errors,
        d.total_prompt_tokens, d.total_completion_tokens, d.total_tokens, d.total_cached_tokens,
        d.total_cost_usd, d.last_request_at
    FROM (
        SELECT DISTINCT u.day FROM usage_unsettled_days AS u JOIN usage_settlement AS s ON u.day < s.settled_before
        WHERE u.day >= :start AND u.day < :end
    ) AS changed
    CROSS JOIN LATERAL (SELECT * FROM daily_usage AS d WHERE d.day = changed.day OFFSET 0) AS d
) AS u

-- fragment: usage_by_key @sqlite
(
    SELECT
        CASE WHEN :by_day THEN day END AS day, api_key_id, sum(total_requests) AS total_requests,
        sum(unpriced_requests) AS unpriced_requests, sum(client_errors) AS client_errors,
        sum(server_errors) AS server_errors, sum(total_prompt_tokens) AS total_prompt_tokens,
        sum(total_completion_tokens) AS total_completion_tokens, sum(total_tokens) AS total_tokens,
        sum(total_cached_tokens) AS total_cached_tokens, sum(cost_microusd) AS cost_microusd,
        sum(cost_rest_picousd) AS cost_rest_picousd, max(last_request_at) AS last_request_at
    FROM settled_usage_by_key
    WHERE (day >= :start AND day < :first_week OR day >= {weeks_end} AND day < :end)
    AND day NOT IN (SELECT day FROM usage_unsettled_days)
    GROUP BY 1, 2
    UNION ALL
    SELECT * FROM settled_weeks_by_key WHERE week >= :first_week AND week < {weeks_end}
    UNION ALL
    SELECT
        day, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM daily_usage
    WHERE day >= max(:start, coalesce((SELECT settled_before FROM usage_settlement), '')) AND day < :end
    GROUP BY day, api_key_id
    UNION ALL
    SELECT
        day, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM daily_usage
    WHERE day IN (
        SELECT u.day FROM usage_unsettled_days AS u
        WHERE u.day >= :start AND u.day < :end AND u.day < (SELECT settled_before FROM usage_settlement)
    )
    GROUP BY day, api_key_id
) AS u

-- fragment: usage_by_route @postgres
(
    SELECT * FROM settled_usage_by_route
    WHERE day >= :start AND day < :end AND day <> ALL (ARRAY(SELECT day FROM usage_unsettled_days))
    UNION ALL
    SELECT
        day, route_id, status_class, total_requests, unpriced_requests, client_errors, server_errors,
        total_prompt_tokens, total_completion_tokens, total_tokens, total_cached_tokens, total_cost_usd,
        last_request_at
    FROM daily_usage
    WHERE day >= greatest(:start, (SELECT settled_before FROM usage_settlement)) AND day < :end
    UNION ALL
    SELECT
        d.day, d.route_id, d.status_class, d.total_requests, d.unpriced_requests, d.client_errors,
        d.server_errors, d.total_prompt_tokens, d.total_completion_tokens, d.total_tokens,
        d.total_cached_tokens, d.total_cost_usd, d.last_request_at
    FROM (
        SELECT DISTINCT u.day FROM usage_unsettled_days AS u JOIN usage_settlement AS s ON u.day < s.settled_before
        WHERE u.day >= :start AND u.day < :end
    ) AS changed
    CROSS JOIN LATERAL (SELECT * FROM daily_usage AS d WHERE d.day = changed.day OFFSET 0) AS d
) AS u

-- fragment: usage_by_route @sqlite
(
    SELECT * FROM settled_usage_by_route
    WHERE day >= :start AND day < :end AND day NOT IN (SELECT day FROM usage_unsettled_days)
    UNION ALL
    SELECT
        day, route_id, status_class, total_requests, unpriced_requests, client_errors, server_errors,
        total_prompt_tokens, total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd,
        last_request_at
    FROM daily_usage
    WHERE day >= max(:start, coalesce((SELECT settled_before FROM usage_settlement), '')) AND day < :end
    UNION ALL
    SELECT
        day, route_id, status_class, total_requests, unpriced_requests, client_errors, server_errors,
        total_prompt_tokens, total_completion_tokens, total_tokens, total_cached_tokens, cost_microusd, cost_rest_picousd,
        last_request_at
    FROM daily_usage
    WHERE day IN (
        SELECT u.day FROM usage_unsettled_days AS u
        WHERE u.day >= :start AND u.day < :end AND u.day < (SELECT settled_before FROM usage_settlement)
    )
) AS u

-- name: daily_usage_summary_sum_by_key
-- What each key used from the day `start` to before the day `end`; with `by_day`, a row for each of its days. Of days that
-- are settled it reads their sums, from `first_week` on by whole weeks, up to one that is not settled or was changed since;
-- the summaries themselves of days since, and of those that were changed since. SQLite
-- sums up each of the three by itself, which spares it sorting: summaries lie in the order of days and keys. On PostgreSQL,
-- OFFSET 0 has each changed day looked up by itself: it would read the whole table for any of them.
SELECT s.*, k.name
FROM (
    SELECT CASE WHEN :by_day THEN day END AS day, api_key_id, {usage_sums}
    FROM {usage_by_key}
    GROUP BY 1, 2
    HAVING sum(total_requests) > 0
) AS s
LEFT JOIN api_keys AS k ON k.id = s.api_key_id;

-- name: daily_usage_summary_sum_by_key_of_model
-- As above, of a model by the name that was recorded, or by its id. No sums of days tell models and keys at once, so it
-- reads the summaries of all days.
SELECT s.*, k.name
FROM (
    SELECT CASE WHEN :by_day THEN day END AS day, api_key_id, {usage_sums}
    FROM daily_usage
    WHERE day >= :start AND day < :end
    AND route_id IN (SELECT id FROM usage_routes WHERE model_id = :model_id OR model_name = :model_name)
    GROUP BY 1, 2
    HAVING sum(total_requests) > 0
) AS s
LEFT JOIN api_keys AS k ON k.id = s.api_key_id;

-- name: daily_usage_summary_sum_by_route
-- What was used of each route by class of status, of all models or of one; one that is not asked for (`by_day`, `by_route`,
-- `by_status`) parts no rows and is NULL.
SELECT s.*, {route_labels}
FROM (
    SELECT
        CASE WHEN :by_day THEN day END AS day, CASE WHEN :by_route THEN route_id END AS route_id,
        CASE WHEN :by_status THEN status_class END AS status_class, {usage_sums}
    FROM {usage_by_route}
    WHERE :is_any_model
    OR route_id IN (SELECT id FROM usage_routes WHERE model_id = :model_id OR model_name = :model_name)
    GROUP BY 1, 2, 3
    HAVING sum(total_requests) > 0
) AS s
{joined_route_labels};

-- name: daily_usage_summary_sum_by_route_of_key
-- As above, of one key.
SELECT s.*, {route_labels}
FROM (
    SELECT
        CASE WHEN :by_day THEN day END AS day, CASE WHEN :by_route THEN route_id END AS route_id,
        CASE WHEN :by_status THEN status_class END AS status_class, {usage_sums}
    FROM daily_usage
    WHERE api_key_id = :api_key_id AND day >= :start AND day < :end
    AND (
        :is_any_model
        OR route_id IN (SELECT id FROM usage_routes WHERE model_id = :model_id OR model_name = :model_name)
    )
    GROUP BY 1, 2, 3
    HAVING sum(total_requests) > 0
) AS s
{joined_route_labels};

-- fragment: route_labels
r.model_id, r.model_name, r.provider_id, r.endpoint, p.name AS provider_name, m.litellm_provider

-- fragment: joined_route_labels
LEFT JOIN usage_routes AS r ON r.id = s.route_id
LEFT JOIN providers AS p ON p.id = r.provider_id
LEFT JOIN models AS m ON m.id = r.model_id AND r.provider_id IS NULL

-- name: daily_usage_summary_list_tags
-- What the keys bear as metadata of this type.
SELECT api_key_id, key, value FROM api_key_metadata WHERE type = :type;

-- name: daily_usage_summary_list_by_api_key
-- What a key used on each day of each route by class of status, in that order.
SELECT
    d.day, d.api_key_id, d.route_id, d.status_class, r.model_id, r.provider_id, r.model_name, r.endpoint,
    d.total_requests, d.unpriced_requests, d.total_prompt_tokens, d.total_completion_tokens, d.total_tokens,
    d.total_cached_tokens, d.total_cost_usd, d.last_request_at
FROM daily_usage_summaries AS d
LEFT JOIN usage_routes AS r ON r.id = d.route_id
WHERE d.api_key_id = :api_key_id AND d.day >= :start AND d.day < :end AND d.total_requests > 0
ORDER BY d.day, d.route_id, d.status_class;

-- name: daily_usage_summary_next_unsettled @postgres
-- The first day that is over and not settled, or was changed since.
SELECT usage_next_unsettled_day() AS first_day;

-- name: daily_usage_summary_next_unsettled @sqlite
-- As above; SQLite has views for what PostgreSQL has functions for.
SELECT day AS first_day FROM usage_next_unsettled_day;

-- name: daily_usage_summary_settle @postgres
-- Sums up that day by key and by route.
SELECT usage_settle_next_day() AS first_day;

-- name: daily_usage_summary_settle @sqlite
-- As above.
INSERT INTO usage_settlements (day) SELECT day FROM usage_next_unsettled_day;
