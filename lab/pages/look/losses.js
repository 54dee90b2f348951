// Why a client lost its connection.

/**
 * A sentence, if a message was too long; otherwise "". The client's event "disconnect" has the
 * details: the close event of its WebSocket, or the request that was refused.
 */
export function tooLong(details) {
  const { code, status } = details?.context ?? {};
  // RFC 6455, section 7.4.1; RFC 9110, section 15.5.14.
  return code === 1009 || status === 413 ? "The message was too long for the server." : "";
}
