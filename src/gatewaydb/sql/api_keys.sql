-- fragment: api_key_columns @postgres
k.id, k.name, k.key_hash, k.allowed_models, k.rate_limit_per_minute, k.monthly_budget_usd, k.enabled, k.expires_at,
k.created_at, k.updated_at,
(SELECT json_agg(json_build_array(m.type, m.key, m.value)) FROM api_key_metadata AS m WHERE m.api_key_id = k.id)
AS metadata

-- fragment: api_key_columns @sqlite
k.id, k.name, k.key_hash, k.allowed_models, k.rate_limit_per_minute, k.monthly_budget_usd, k.enabled, k.expires_at,
k.created_at, k.updated_at,
(SELECT json_group_array(json_array(m.type, m.key, m.value)) FROM api_key_metadata AS m WHERE m.api_key_id = k.id)
AS metadata

-- name: api_key_find_by_hash [point]
-- One key with its metadata, by the hash of its secret.
SELECT {api_key_columns} FROM api_keys AS k WHERE k.key_hash = :key_hash;

-- name: api_key_find_by_hashes @postgres
-- The keys of these hashes, with their metadata.
SELECT {api_key_columns} FROM api_keys AS k WHERE k.key_hash = ANY(:key_hashes);

-- name: api_key_find_by_hashes @sqlite
-- As above; SQLite has no arrays, and takes them as JSON.
SELECT {api_key_columns} FROM api_keys AS k WHERE k.key_hash IN (SELECT value FROM json_each(:key_hashes));

-- name: api_key_find_by_id [point]
-- One key with its metadata, by its id.
SELECT {api_key_columns} FROM api_keys AS k WHERE k.id = :id;

-- name: api_key_find_by_name
-- The keys of this name, oldest first: names need not be unique.
SELECT {api_key_columns} FROM api_keys AS k WHERE k.name = :name ORDER BY k.id LIMIT :limit;

-- name: api_key_find_by_hash_range
-- The keys whose hashes lie from `first` to before `beyond`, by hash: those of one beginning.
SELECT {api_key_columns} FROM api_keys AS k
WHERE k.key_hash >= :first AND k.key_hash < :beyond ORDER BY k.key_hash LIMIT :limit;

-- name: api_key_list
-- One page of keys in the order of their making. `after` is the id of the last row of the page before.
SELECT {api_key_columns} FROM api_keys AS k WHERE k.id > :after ORDER BY k.id LIMIT :limit OFFSET :offset;

-- name: api_key_insert
-- A new key; its metadata follows in the same transaction.
INSERT INTO api_keys (
    id, name, key_hash, allowed_models, rate_limit_per_minute, monthly_budget_usd, enabled, expires_at,
    created_at, updated_at
) VALUES (
    :id, :name, :key_hash, :allowed_models, :rate_limit_per_minute, :monthly_budget_usd, :enabled, :expires_at,
    :now, :now
);

-- name: api_key_lock @postgres [point]
-- The hash a key has until this transaction changes it; the row stays locked, so that no one changes it in between.
SELECT key_hash FROM api_keys WHERE id = :id FOR UPDATE;

-- name: api_key_lock @sqlite [point]
-- As above: a write transaction of SQLite is alone, and needs no lock of rows.
SELECT key_hash FROM api_keys WHERE id = :id;

-- name: api_key_update
-- Everything but the metadata, which has statements of its own: an old copy of a key never undoes another's tag.
UPDATE api_keys AS k SET
    name = :name, key_hash = :key_hash, allowed_models = :allowed_models,
    rate_limit_per_minute = :rate_limit_per_minute, monthly_budget_usd = :monthly_budget_usd, enabled = :enabled,
    expires_at = :expires_at, updated_at = :now
WHERE k.id = :id;

-- name: api_key_set_enabled
-- Switches a key on or off, whatever else changes in it at the same time.
UPDATE api_keys SET enabled = :enabled, updated_at = :now WHERE id = :id RETURNING key_hash;

-- name: api_key_touch
-- Marks a key as changed, and gives its hash for the cache.
UPDATE api_keys SET updated_at = :now WHERE id = :id RETURNING key_hash;

-- name: api_key_delete
-- The key and, by its foreign key, the metadata; usage stays.
DELETE FROM api_keys WHERE id = :id RETURNING key_hash;

-- name: api_key_metadata_set
-- One piece of metadata, new or changed.
INSERT INTO api_key_metadata (api_key_id, type, key, value) VALUES (:api_key_id, :type, :key, :value)
ON CONFLICT (api_key_id, type, key) DO UPDATE SET value = excluded.value;

-- name: api_key_metadata_delete
-- One piece of metadata; none is no error.
DELETE FROM api_key_metadata WHERE api_key_id = :api_key_id AND type = :type AND key = :key;
