-- name: contents_rows [report]
-- The rows of every table, counted: a report.
SELECT 'api_keys' AS name, count(*) AS total FROM api_keys
UNION ALL SELECT 'api_key_metadata' AS name, count(*) AS total FROM api_key_metadata
UNION ALL SELECT 'models' AS name, count(*) AS total FROM models
UNION ALL SELECT 'price_components' AS name, count(*) AS total FROM price_components
UNION ALL SELECT 'model_aliases' AS name, count(*) AS total FROM model_aliases
UNION ALL SELECT 'model_alias_tags' AS name, count(*) AS total FROM model_alias_tags
UNION ALL SELECT 'providers' AS name, count(*) AS total FROM providers
UNION ALL SELECT 'usage_records' AS name, count(*) AS total FROM usage_records
UNION ALL SELECT 'usage_routes' AS name, count(*) AS total FROM usage_routes
UNION ALL SELECT 'daily_usage_summaries' AS name, count(*) AS total FROM daily_usage_summaries
UNION ALL SELECT 'monthly_usage_summaries' AS name, count(*) AS total FROM monthly_usage_summaries;

-- name: contents_size @postgres [report]
-- The bytes of the database on disk.
SELECT pg_database_size(current_database()) AS total;

-- name: contents_size @sqlite [report]
-- The bytes of the file, without its write-ahead log.
SELECT page_count * page_size AS total FROM pragma_page_count(), pragma_page_size();
