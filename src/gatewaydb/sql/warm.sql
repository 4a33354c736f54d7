-- name: warm_api_key_hashes
-- The hashes of the keys whose last request, in this month or the last one, is the latest; latest first.
SELECT k.key_hash
FROM (
    SELECT s.api_key_id, max(s.last_request_at) AS latest
    FROM monthly_usage_summaries AS s
    WHERE (s.year = :year AND s.month = :month) OR (s.year = :last_year AND s.month = :last_month)
    GROUP BY s.api_key_id
) AS u
JOIN api_keys AS k ON k.id = u.api_key_id
ORDER BY u.latest DESC LIMIT :limit;

-- name: warm_model_names
-- The names and enabled aliases of the models whose last request is the latest, latest first. It looks at one usage
-- record of each model, through the index.
SELECT n.asked
FROM (
    SELECT m.id, (SELECT max(r.request_timestamp) FROM usage_records AS r WHERE r.model_id = m.id) AS latest
    FROM models AS m
) AS u
JOIN (
    SELECT m.id, m.name AS asked FROM models AS m
    UNION ALL
    SELECT a.model_id, a.alias FROM model_aliases AS a WHERE a.enabled = TRUE
) AS n ON n.id = u.id
WHERE u.latest IS NOT NULL
ORDER BY u.latest DESC, n.asked LIMIT :limit;
