-- fragment: provider_columns
id, name, api_base, enabled, metadata, credentials IS NOT NULL AS has_credentials, created_at, updated_at

-- name: provider_find_by_id [point]
-- One provider without its credentials, by its id.
SELECT {provider_columns} FROM providers WHERE id = :id;

-- name: provider_find_by_name [point]
-- One provider without its credentials, by its name.
SELECT {provider_columns} FROM providers WHERE name = :name;

-- name: provider_find_credentials [point]
-- The encrypted credentials of one provider.
SELECT credentials FROM providers WHERE id = :id;

-- name: provider_list
-- One page of providers by name. `after` is the name of the last row of the page before.
SELECT {provider_columns} FROM providers WHERE name > :after ORDER BY name LIMIT :limit OFFSET :offset;

-- name: provider_list_enabled
-- As provider_list, only those that are enabled: providers are few.
SELECT {provider_columns} FROM providers WHERE enabled AND name > :after ORDER BY name LIMIT :limit OFFSET :offset;

-- name: provider_lock_credentials @postgres
-- The encrypted credentials of all providers; the rows stay locked, so that a change in between is not overwritten.
SELECT id, credentials FROM providers WHERE credentials IS NOT NULL ORDER BY id FOR UPDATE;

-- name: provider_lock_credentials @sqlite
-- As above: a write transaction of SQLite is alone, and needs no lock of rows.
SELECT id, credentials FROM providers WHERE credentials IS NOT NULL ORDER BY id;

-- name: provider_replace_credentials
-- The same credentials under another key.
UPDATE providers SET credentials = :credentials, updated_at = :now WHERE id = :id;

-- name: provider_insert
-- A new provider.
INSERT INTO providers (id, name, api_base, enabled, metadata, credentials, created_at, updated_at)
VALUES (:id, :name, :api_base, :enabled, :metadata, :credentials, :now, :now);

-- name: provider_update
-- Everything but the credentials. The row is read afterwards: SQLite 3.40 returns `credentials IS NOT NULL` as 1 always.
UPDATE providers SET name = :name, api_base = :api_base, enabled = :enabled, metadata = :metadata, updated_at = :now
WHERE id = :id
RETURNING id;

-- name: provider_set_credentials
-- New encrypted credentials, or none.
UPDATE providers SET credentials = :credentials, updated_at = :now WHERE id = :id RETURNING id;

-- name: provider_delete
-- A provider that no model refers to.
DELETE FROM providers WHERE id = :id RETURNING id;
