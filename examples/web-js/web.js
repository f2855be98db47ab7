// A server in JavaScript: `wasi:http/incoming-handler`, as componentize-js makes it of a listener for "fetch".

import { getEnvironment } from 'wasi:cli/environment@0.2.10';
import { getDirectories } from 'wasi:filesystem/preopens@0.2.10';

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  const operand = decodeURIComponent(search.slice(1));
  switch (pathname) {
    case '/':
      return new Response('hello from JavaScript\n');
    case '/echo':
      return new Response(await request.arrayBuffer());
    case '/env':
      return new Response(variable(operand));
    case '/file':
      return new Response(read(operand));
    case '/fetch':
      return await fetch(operand);
    case '/log':
      console.log(`out: ${operand}`);
      console.error(`error: ${operand}`);
      return new Response('logged\n');
    default:
      return new Response('no such path\n', { status: 404 });
  }
}

// The value of a variable of the container's environment.
function variable(name) {
  const found = getEnvironment().find(([known]) => known === name);
  return found ? found[1] : '';
}

// The content of a file: the directory that the container has at the longest part of the path has it.
function read(path) {
  const [directory, name] = getDirectories()
    .filter(([, at]) => path.startsWith(at === '/' ? at : `${at}/`))
    .sort(([, a], [, b]) => a.length - b.length)
    .pop();
  const file = directory.openAt({ symlinkFollow: true }, path.slice(name.length).replace(/^\//, ''), {}, { read: true });
  const [bytes] = file.read(file.stat().size, 0n);
  return bytes;
}
