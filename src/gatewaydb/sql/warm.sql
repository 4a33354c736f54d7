-- fragment: last_two_days_of_use
(
    SELECT max(day) FROM daily_usage_summaries
    UNION ALL
    SELECT max(day) FROM daily_usage_summaries WHERE day < (SELECT max(day) FROM daily_usage_summaries)
)

-- name: warm_api_key_hashes
-- The hashes of the keys whose last request, in the last two days (UTC) of use, is the latest; latest first. It reads the
-- summaries of these days only.
SELECT k.key_hash
FROM (
    SELECT api_key_id, max(last_request_at) AS latest FROM daily_usage_summaries
    WHERE day IN {last_two_days_of_use}
    GROUP BY api_key_id
) AS u
JOIN api_keys AS k ON k.id = u.api_key_id
ORDER BY u.latest DESC LIMIT :limit;

-- name: warm_model_names
-- The names and enabled aliases of the models whose last request in these days is the latest, latest first. Usage that
-- names no model by its id may name one by what was asked for.
SELECT n.asked
FROM (
    SELECT coalesce(r.model_id, m.id, a.model_id) AS id, max(s.latest) AS latest
    FROM (
        SELECT route_id, max(last_request_at) AS latest FROM daily_usage_summaries
        WHERE day IN {last_two_days_of_use}
        GROUP BY route_id
    ) AS s
    JOIN usage_routes AS r ON r.id = s.route_id
    LEFT JOIN models AS m ON m.name = r.model_name
    LEFT JOIN model_aliases AS a ON a.alias = r.model_name AND a.enabled = TRUE
    GROUP BY 1
) AS u
JOIN (
    SELECT m.id, m.name AS asked FROM models AS m
    UNION ALL
    SELECT a.model_id, a.alias FROM model_aliases AS a WHERE a.enabled = TRUE
) AS n ON n.id = u.id
ORDER BY u.latest DESC, n.asked LIMIT :limit;
