// The page of `tpvideo live`: draws what comes, sends what is turned, and measures.

const $ = (id) => document.getElementById(id);
const KNOBS = { yaw: "yaw_rad", pitch: "pitch_rad", zoom: "zoom", smooth: "smooth" };
const HEAD_BYTES = 16; // frame number, bytes of the first picture, own time of the capture
const CAMERA_WIDTH = 640;
const STALE_MS = 2000; // a picture of ours that was not answered by then is given up

let socket = null;
let controls = {};
let isRecording = false;
let isTouched = {}; // knobs that are being turned here are not moved from outside
let camera = null;
let waitingSince = 0; // when our camera's last picture was sent; 0: answered

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : show(data));
  socket.onclose = () => {
    state("the session has ended, or cannot be reached; trying again");
    document.body.dataset.connected = "no";
    setTimeout(connect, 1500);
  };
  socket.onopen = () => {
    document.body.dataset.connected = "yes";
    waitingSince = 0;
  };
}

function send(command) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
}

// --- pictures ----------------------------------------------------------------------------------

async function show(buffer) {
  const head = new DataView(buffer);
  const index = head.getUint32(0, true);
  const first = head.getUint32(4, true);
  const sentAt = head.getFloat64(8, true);
  try {
    const [result, source] = await Promise.all([
      decode(buffer, HEAD_BYTES, first),
      decode(buffer, HEAD_BYTES + first, buffer.byteLength - HEAD_BYTES - first),
    ]);
    draw($("picture"), result);
    draw($("source"), source);
  } finally {
    // Answered at once, not in the next animation frame: a page in the background has none.
    send({ drawn: index });
  }
  document.body.dataset.pictures = Number(document.body.dataset.pictures ?? 0) + 1;
  if (sentAt > 0) {
    waitingSince = 0;
    $("trip").textContent = `${Math.round(performance.now() - sentAt)} ms`;
  }
}

function decode(buffer, begin, length) {
  return createImageBitmap(new Blob([new Uint8Array(buffer, begin, length)], { type: "image/jpeg" }));
}

function draw(canvas, picture) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
  picture.close();
}

// --- what the session says ---------------------------------------------------------------------

function hear(message) {
  if (message.error) notice(message.error);
  if (message.camera !== undefined) offerCamera(message.camera);
  if (message.listen !== undefined) $("listen").hidden = !message.listen;
  if (message.figures) tell(message.figures);
  if (message.sound) play(message.sound);
}

function tell(figures) {
  state(figures.state);
  $("fps").textContent = figures.fps.toFixed(1);
  for (const name of ["p50", "p95", "p99"]) {
    $(name).textContent = figures[name] === null ? "–" : `${Math.round(figures[name])} ms`;
  }
  const sure = figures.confidence;
  $("confidence").textContent = sure === null ? "–" : sure.toFixed(2);
  $("dropped").textContent = figures.dropped;
  if (figures.notice && figures.notice !== tell.last) notice(figures.notice);
  tell.last = figures.notice;
  if (isRecording && !figures.recording) fetchRecording();
  isRecording = figures.recording;
  $("recording-mark").hidden = !isRecording;
  press($("record"), isRecording);
  offerPresets(figures.presets);
  controls = figures.controls;
  for (const [id, name] of Object.entries(KNOBS)) {
    if (!isTouched[id]) $(id).value = controls[name];
    say(id, controls[name]);
  }
  press($("mirror"), controls.mirror);
  for (const button of document.querySelectorAll("[data-background]")) {
    press(button, button.dataset.background === controls.background);
  }
  for (const button of document.querySelectorAll("[data-preset]")) {
    press(button, button.dataset.preset === controls.preset);
  }
}

function say(id, value) {
  const isAngle = id === "yaw" || id === "pitch";
  const text = isAngle ? `${value.toFixed(2)} rad, ${Math.round((value * 180) / Math.PI)}°` : value.toFixed(2);
  $(`${id}-said`).textContent = id === "zoom" ? `${text}×` : text;
}

function press(button, isPressed) {
  button.setAttribute("aria-pressed", String(isPressed));
}

function state(text) {
  $("state").textContent = text;
}

function notice(text, isGood = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("good", isGood);
}

function offerPresets(names) {
  if ($("presets").querySelector("button")) return;
  for (const name of names) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = button.dataset.preset = name;
    button.onclick = () => send({ turn: { preset: name } });
    $("presets").append(button);
  }
}

// --- what is turned here -----------------------------------------------------------------------

function turn(id, value) {
  const input = $(id);
  input.value = value;
  say(id, input.valueAsNumber);
  send({ turn: { [KNOBS[id]]: input.valueAsNumber } });
}

for (const id of Object.keys(KNOBS)) {
  const input = $(id);
  input.oninput = () => {
    clearTimeout(isTouched[id]);
    isTouched[id] = setTimeout(() => (isTouched[id] = 0), 1000);
    turn(id, input.value);
  };
}

for (const button of document.querySelectorAll("[data-background]")) {
  button.onclick = () => send({ turn: { background: button.dataset.background } });
}
$("colour").oninput = () => send({ turn: { background: $("colour").value } });
$("mirror").onclick = () => send({ turn: { mirror: !controls.mirror } });
$("straight").onclick = () => {
  turn("yaw", 0);
  turn("pitch", 0);
};

$("snapshot").onclick = async () => {
  const answer = await fetch("snapshot.png");
  if (!answer.ok) return notice(await answer.text());
  save(await answer.blob(), `tpvideo-${stampNow()}.png`);
  notice("the snapshot is saved", true);
};

$("record").onclick = () => {
  notice("");
  send({ record: !isRecording });
};

async function fetchRecording() {
  const answer = await fetch("recording.mp4");
  if (!answer.ok) return;
  save(await answer.blob(), `tpvideo-${stampNow()}.mp4`);
  notice("the recording is saved", true);
}

function save(blob, name) {
  const link = $("download");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.dataset.bytes = blob.size;
  link.click();
}

function stampNow() {
  return new Date().toISOString().slice(0, 19).replaceAll(":", "-");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = { m: "mirror", s: "snapshot", r: "record", 0: "straight" };
  if (event.key in buttons) return $(buttons[event.key]).click();
  if (event.target instanceof HTMLInputElement) return; // a slider moves by itself
  const steps = { ArrowLeft: ["yaw", -0.05], ArrowRight: ["yaw", 0.05], ArrowUp: ["pitch", 0.05], ArrowDown: ["pitch", -0.05] };
  if (event.key in steps) {
    const [id, step] = steps[event.key];
    turn(id, $(id).valueAsNumber + step);
    event.preventDefault();
  }
});

// --- sound, which comes when its picture is shown ------------------------------------------------

const RATE = 48000;
let audio = null;
let playAt = 0; // when the next piece begins, on the clock of `audio`

$("listen").onclick = () => {
  const wanted = audio === null;
  if (wanted) {
    audio = new AudioContext({ sampleRate: RATE });
  } else {
    audio.close();
    audio = null;
  }
  playAt = 0;
  press($("listen"), wanted);
  send({ listen: wanted });
};

function play(text) {
  if (!audio) return;
  const pairs = new Int16Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const piece = audio.createBuffer(2, pairs.length / 2, RATE);
  for (let side = 0; side < 2; side++) {
    const values = piece.getChannelData(side);
    for (let place = 0; place < values.length; place++) values[place] = pairs[2 * place + side] / 32768;
  }
  const source = audio.createBufferSource();
  source.buffer = piece;
  source.connect(audio.destination);
  if (playAt < audio.currentTime) playAt = audio.currentTime + 0.04; // the first, or after a gap
  source.start(playAt);
  playAt += piece.duration;
  document.body.dataset.heard = Number(document.body.dataset.heard ?? 0) + 1;
}

// --- this browser's camera ---------------------------------------------------------------------

function offerCamera(isOffered) {
  $("camera").hidden = !isOffered;
  $("trip-figure").hidden = !isOffered;
  if (!isOffered) stopCamera();
}

$("camera").onclick = () => (camera ? stopCamera() : startCamera());

async function startCamera() {
  if (!navigator.mediaDevices) {
    return notice("a browser gives its camera to https and localhost only; use ssh -L, see docs/live.md");
  }
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { width: CAMERA_WIDTH }, audio: false });
  } catch (error) {
    return notice(`no camera: ${error.message}`);
  }
  $("own").srcObject = camera;
  await $("own").play();
  $("camera").textContent = "stop this camera";
  notice("");
  takePictures();
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  $("camera").textContent = "use this camera";
}

// One picture is on its way at a time: the next is taken when the answer to the last is drawn.
async function takePictures() {
  const canvas = document.createElement("canvas");
  while (camera) {
    const video = $("own");
    const now = performance.now();
    const isFree = waitingSince === 0 || now - waitingSince > STALE_MS;
    if (isFree && video.videoWidth && socket?.readyState === WebSocket.OPEN) {
      canvas.width = Math.min(CAMERA_WIDTH, video.videoWidth);
      canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
      canvas.getContext("2d", { alpha: false }).drawImage(video, 0, 0, canvas.width, canvas.height);
      waitingSince = now;
      const picture = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
      const head = new DataView(new ArrayBuffer(8));
      head.setFloat64(0, now, true);
      socket.send(new Blob([head, picture]));
    }
    await new Promise((done) => setTimeout(done, 5));
  }
}

connect();
