-- name: usage_route_insert @postgres
-- What was called and where, once; in the order of the ids, so that two writers never wait for each other crosswise.
INSERT INTO usage_routes (id, model_id, provider_id, model_name, endpoint)
SELECT id, model_id, provider_id, model_name, endpoint
FROM json_to_recordset(:batch::json) AS b (id bigint, model_id uuid, provider_id uuid, model_name text, endpoint text)
ORDER BY id
ON CONFLICT DO NOTHING;

-- name: usage_route_insert @sqlite
-- As above; SQLite has no recordset of JSON.
INSERT INTO usage_routes (id, model_id, provider_id, model_name, endpoint)
SELECT
    json_extract(value, '$.id'), json_extract(value, '$.model_id'), json_extract(value, '$.provider_id'),
    json_extract(value, '$.model_name'), json_extract(value, '$.endpoint')
FROM json_each(:batch)
WHERE TRUE
ON CONFLICT DO NOTHING;
