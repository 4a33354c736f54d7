-- Ids are UUID text, times ISO 8601 text in UTC with microseconds, JSON is text: an operator reads and compares them with
-- the same literals as on PostgreSQL. Costs are whole picodollars (1e-12 USD), because SQLite has no exact decimals; the
-- generated columns show them as exact decimal text.

CREATE TABLE providers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    api_base TEXT,
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    credentials BLOB,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE models (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    litellm_provider TEXT,
    provider_id TEXT REFERENCES providers (id),
    mode TEXT,
    max_tokens INTEGER,
    max_input_tokens INTEGER,
    max_output_tokens INTEGER,
    supports_assistant_prefill INTEGER NOT NULL DEFAULT 0 CHECK (supports_assistant_prefill IN (0, 1)),
    supports_audio_input INTEGER NOT NULL DEFAULT 0 CHECK (supports_audio_input IN (0, 1)),
    supports_audio_output INTEGER NOT NULL DEFAULT 0 CHECK (supports_audio_output IN (0, 1)),
    supports_computer_use INTEGER NOT NULL DEFAULT 0 CHECK (supports_computer_use IN (0, 1)),
    supports_function_calling INTEGER NOT NULL DEFAULT 0 CHECK (supports_function_calling IN (0, 1)),
    supports_image_input INTEGER NOT NULL DEFAULT 0 CHECK (supports_image_input IN (0, 1)),
    supports_native_streaming INTEGER NOT NULL DEFAULT 0 CHECK (supports_native_streaming IN (0, 1)),
    supports_parallel_function_calling INTEGER NOT NULL DEFAULT 0
        CHECK (supports_parallel_function_calling IN (0, 1)),
    supports_pdf_input INTEGER NOT NULL DEFAULT 0 CHECK (supports_pdf_input IN (0, 1)),
    supports_prompt_caching INTEGER NOT NULL DEFAULT 0 CHECK (supports_prompt_caching IN (0, 1)),
    supports_reasoning INTEGER NOT NULL DEFAULT 0 CHECK (supports_reasoning IN (0, 1)),
    supports_response_schema INTEGER NOT NULL DEFAULT 0 CHECK (supports_response_schema IN (0, 1)),
    supports_system_messages INTEGER NOT NULL DEFAULT 0 CHECK (supports_system_messages IN (0, 1)),
    supports_tool_choice INTEGER NOT NULL DEFAULT 0 CHECK (supports_tool_choice IN (0, 1)),
    supports_url_context INTEGER NOT NULL DEFAULT 0 CHECK (supports_url_context IN (0, 1)),
    supports_video_input INTEGER NOT NULL DEFAULT 0 CHECK (supports_video_input IN (0, 1)),
    supports_vision INTEGER NOT NULL DEFAULT 0 CHECK (supports_vision IN (0, 1)),
    supports_web_search INTEGER NOT NULL DEFAULT 0 CHECK (supports_web_search IN (0, 1)),
    deprecation_date TEXT,
    source TEXT,
    origin TEXT NOT NULL CHECK (origin IN ('catalog', 'custom')),
    vanished_at TEXT,
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE INDEX models_litellm_provider_name ON models (litellm_provider, name);
CREATE INDEX models_provider_id_name ON models (provider_id, name);

-- A price is decimal text, exact at any length; the literal is how its source wrote it.
CREATE TABLE price_components (
    id INTEGER PRIMARY KEY,
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    direction TEXT NOT NULL,
    modality TEXT NOT NULL,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    per INTEGER NOT NULL,
    price TEXT NOT NULL,
    literal TEXT NOT NULL,
    currency TEXT NOT NULL,
    combine TEXT NOT NULL,
    condition TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(condition)),
    source_field TEXT NOT NULL,
    valid_from TEXT,
    valid_until TEXT,
    version INTEGER NOT NULL,
    ended_version INTEGER NOT NULL DEFAULT 0,
    origin TEXT NOT NULL CHECK (origin IN ('catalog', 'operator'))
) STRICT;

CREATE INDEX price_components_model_id ON price_components (model_id);

CREATE TABLE model_aliases (
    id TEXT NOT NULL PRIMARY KEY,
    alias TEXT NOT NULL UNIQUE,
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE INDEX model_aliases_model_id ON model_aliases (model_id, alias);
CREATE INDEX model_aliases_enabled ON model_aliases (alias) WHERE enabled = 1;

CREATE TABLE model_alias_tags (
    model_alias_id TEXT NOT NULL REFERENCES model_aliases (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_alias_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    key_hash TEXT NOT NULL UNIQUE,
    allowed_models TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(allowed_models)),
    rate_limit_per_minute INTEGER,
    monthly_budget_usd TEXT,
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    expires_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;

CREATE INDEX api_keys_name ON api_keys (name, id);

CREATE TABLE api_key_metadata (
    api_key_id TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (api_key_id, type, key)
) STRICT, WITHOUT ROWID;

-- No foreign keys here: what was used stays recorded when its key or model is deleted.
CREATE TABLE usage_records (
    id TEXT NOT NULL PRIMARY KEY,
    api_key_id TEXT NOT NULL,
    model_id TEXT,
    provider_id TEXT,
    request_timestamp TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_picousd INTEGER,
    cost_usd TEXT GENERATED ALWAYS AS (
        CASE WHEN cost_picousd IS NOT NULL
        THEN printf('%d.%012d', cost_picousd / 1000000000000, cost_picousd % 1000000000000) END
    ) VIRTUAL,
    price_version INTEGER,
    request_id TEXT,
    model_name TEXT,
    endpoint TEXT,
    response_time_ms INTEGER,
    status_code INTEGER,
    error_message TEXT,
    request_metadata TEXT NOT NULL DEFAULT '{}',
    response_metadata TEXT NOT NULL DEFAULT '{}',
    billable TEXT,
    pricing_context TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE UNIQUE INDEX usage_records_request ON usage_records (api_key_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX usage_records_api_key ON usage_records (api_key_id, request_timestamp, id);
CREATE INDEX usage_records_unpriced ON usage_records (id) WHERE cost_picousd IS NULL;
CREATE INDEX usage_records_model ON usage_records (model_id, request_timestamp, id);

-- The total is kept in two whole numbers, because 63 bits of picodollars end at 9.2 million dollars.
CREATE TABLE monthly_usage_summaries (
    api_key_id TEXT NOT NULL,
    year INTEGER NOT NULL,
    month INTEGER NOT NULL CHECK (month BETWEEN 1 AND 12),
    total_requests INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL,
    total_prompt_tokens INTEGER NOT NULL,
    total_completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    cost_rest_picousd INTEGER NOT NULL,
    total_cost_usd TEXT GENERATED ALWAYS AS (
        printf(
            '%d.%06d%06d',
            (cost_microusd + cost_rest_picousd / 1000000) / 1000000,
            (cost_microusd + cost_rest_picousd / 1000000) % 1000000,
            cost_rest_picousd % 1000000
        )
    ) VIRTUAL,
    last_request_at TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (api_key_id, year, month)
) STRICT, WITHOUT ROWID;

-- What was inserted is in the monthly summary before the statement ends, whoever made it; what a conflict left out fires
-- no trigger and counts nowhere.
CREATE TRIGGER usage_records_summarise AFTER INSERT ON usage_records
BEGIN
    INSERT INTO monthly_usage_summaries (
        api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
        total_tokens, cost_microusd, cost_rest_picousd, last_request_at, updated_at
    ) VALUES (
        new.api_key_id, CAST(substr(new.request_timestamp, 1, 4) AS INTEGER),
        CAST(substr(new.request_timestamp, 6, 2) AS INTEGER), 1, new.cost_picousd IS NULL, new.prompt_tokens,
        new.completion_tokens, new.total_tokens, coalesce(new.cost_picousd / 1000000, 0),
        coalesce(new.cost_picousd % 1000000, 0), new.request_timestamp,
        strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')
    )
    ON CONFLICT (api_key_id, year, month) DO UPDATE SET
        total_requests = total_requests + excluded.total_requests,
        unpriced_requests = unpriced_requests + excluded.unpriced_requests,
        total_prompt_tokens = total_prompt_tokens + excluded.total_prompt_tokens,
        total_completion_tokens = total_completion_tokens + excluded.total_completion_tokens,
        total_tokens = total_tokens + excluded.total_tokens,
        cost_microusd = cost_microusd + excluded.cost_microusd,
        cost_rest_picousd = cost_rest_picousd + excluded.cost_rest_picousd,
        last_request_at = max(coalesce(last_request_at, ''), excluded.last_request_at),
        updated_at = excluded.updated_at;
END;

-- A record that is priced anew moves its month's sums in the same statement. What is deleted stays in the sums: they
-- outlive the records.
CREATE TRIGGER usage_records_reprice AFTER UPDATE OF cost_picousd ON usage_records
WHEN new.cost_picousd IS NOT old.cost_picousd
BEGIN
    UPDATE monthly_usage_summaries SET
        unpriced_requests = unpriced_requests + (new.cost_picousd IS NULL) - (old.cost_picousd IS NULL),
        cost_microusd = cost_microusd + coalesce(new.cost_picousd / 1000000, 0)
            - coalesce(old.cost_picousd / 1000000, 0),
        cost_rest_picousd = cost_rest_picousd + coalesce(new.cost_picousd % 1000000, 0)
            - coalesce(old.cost_picousd % 1000000, 0),
        updated_at = strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now')
    WHERE api_key_id = new.api_key_id
    AND year = CAST(substr(new.request_timestamp, 1, 4) AS INTEGER)
    AND month = CAST(substr(new.request_timestamp, 6, 2) AS INTEGER);
END;
