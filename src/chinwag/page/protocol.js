// Types of the OpenAI Realtime protocol, and of Chinwag's additions, as far as this page uses them. There is no code here.

/**
 * An item of the conversation. A tool call has name, arguments and output; approval items ask for leave and give it.
 *
 * @typedef {{ id: string, type: string, role?: "user" | "assistant" | "system", content?: { text?: string, transcript?: string }[],
 *   name?: string, arguments?: string, output?: string | null, error?: { message: string } | null, server_label?: string,
 *   approval_request_id?: string, approve?: boolean }} Item
 */

/**
 * An error of the server. offer: another engine that could do what failed. event_id: of the client event that it answers.
 * ticket, place, retry_after_s: of the queue of a full server.
 *
 * @typedef {{ code?: string, message?: string, event_id?: string, offer?: EngineOffer, ticket?: string, place?: number,
 *   retry_after_s?: number }} ProtocolError
 */

/** @typedef {{ label: string, engines: Record<string, { engine: string, model?: string, voice?: string }> }} EngineOffer */

/** An event of the server: its type decides which of the other fields it has. @typedef {{ type: string, [field: string]: any }} ServerEvent */

/** Sends a client event of a type, with its other fields. @typedef {(type: string, fields?: Record<string, unknown>) => void} Send */

export {};
