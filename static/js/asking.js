// Asks the server for HTML.

export const AGAIN_MS = 3_000; // after so long, what was not answered is asked for again
const HEADERS = { "HX-Request": "true" };

// The server is being restarted, or has too much to do: it will answer.
export const isPassing = (status) => status >= 500 || status === 429;

// Once; null when nothing came.
export const ask = async (url) => {
  try {
    const answer = await fetch(url, { headers: HEADERS });
    return answer.ok ? await answer.text() : null;
  } catch {
    return null;
  }
};

// Until there is an answer, however long the network or the server is away; null when there is nothing (any more).
export const askUntilAnswered = async (url) => {
  for (;;) {
    try {
      const answer = await fetch(url, { headers: HEADERS });
      if (answer.ok) return await answer.text();
      if (!isPassing(answer.status)) return null;
    } catch {
      // The network is away.
    }
    await new Promise((go) => setTimeout(go, AGAIN_MS));
  }
};
