# mmupt on CPUs: docker build -t mmupt . && docker run --rm -v "$PWD:/work" mmupt demo
# For GPUs take an image that has torch for them, and install the wheel there.

FROM python:3.11-slim AS build
RUN python -m venv /opt/mmupt
ENV PATH=/opt/mmupt/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# torch first, in a layer of its own when the sources change. The default index may bring CUDA, several
# gigabytes: name PyTorch's index for CPUs with --build-arg TORCH_INDEX=URL.
COPY constraints.txt ./
ARG TORCH_INDEX=""
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --constraint constraints.txt '.[review,server]'

FROM python:3.11-slim
COPY --from=build /opt/mmupt /opt/mmupt
# Matplotlib and Hugging Face keep caches; the home of a user given by --user may not be writable.
ENV PATH=/opt/mmupt/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp/matplotlib HF_HOME=/tmp/huggingface
RUN useradd --create-home --uid 1000 mmupt && install -d -o mmupt -g mmupt /work
USER mmupt
WORKDIR /work
ENTRYPOINT ["mmupt"]
CMD ["--help"]
